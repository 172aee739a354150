/* Split attention, and squeeze-and-excitation, which is split attention with one split.
 *
 * x (images, pixels, splits * width) is a map before its batch-norm, which is applied while the map is read. */
#include "attention.h"

#define STRIP 8 /* pixels that one inner loop processes, so that the rows of wide maps stay in the first-level cache */

/* The weights of splits, of `count` attentions (see `weigh`); also the splits' means (images, splits * width), and the
 * sums of their masks (see `masked_sums`). Returns 0, or 1 without memory. */
int splits_weigh(const float *x, const float *norm_rows, const Attention *attentions, whole count, float *means,
                 float *mask_sums, float *weights, whole images, whole pixels, whole splits, whole width, whole threads) {
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++)
    average(x + n * pixels * row, norm, pixels, splits, width, mask_sums + 2 * n * row, means + n * row);
  Packed packed[MOST_ATTENTIONS] = {0};
  int failed = 0;
  for (whole k = 0; k < count; k++) failed |= pack_attention(attentions + k, packed + k);
  if (!failed) failed = weigh(packed, count, means, images, splits, weights);
  for (whole k = 0; k < count; k++) free(packed[k].squeeze), free(packed[k].attend);
  return failed;
}

/* out (images, pixels, width): the sum of the splits times `weights` (images, splits * width). */
int splits_combine(const float *x, const float *norm_rows, const float *weights, float *out, whole images, whole pixels,
                   whole splits, whole width, whole threads) {
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++)
    for (whole p = n * pixels; p < (n + 1) * pixels; p++)
      for (whole c = 0; c < width; c += LANES) {
        const whole part = smaller(LANES, width - c);
        vec sum = {};
        for (whole r = 0, j = c; r < splits; r++, j += width)
          sum += positive(load_part(x + p * row + j, part) * load_part(norm.scale + j, part) +
                          load_part(norm.shift + j, part)) *
                 load_part(weights + n * row + j, part);
        store_part(out + p * width + c, sum, part);
      }
  return 0;
}

/* The sums of the masks times the gradient `dout` of the output. */
int splits_sums(const float *dout, const float *x, const float *norm_rows, float *sums, whole images, whole pixels,
                whole splits, whole width, whole threads) {
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
  memset(sums, 0, sizeof(float) * 2 * images * row);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++)
    for (whole p = 0; p < pixels; p += TILE)
      masked_sums(dout + (n * pixels + p) * width, width, x + (n * pixels + p) * row, norm, smaller(TILE, pixels - p),
                  splits, width, sums + 2 * n * row);
  return 0;
}

/* The gradients of an attention's parameters; those of the batch-norm are NULL if it has none. */
typedef struct {
  float *squeeze, *squeeze_bias, *attend, *attend_bias, *weight, *bias;
} AttentionGradients;

/* The backward pass of `attend`: the gradients of the parameters and of the means from that of the gate. Returns 0, or
 * 1 without memory. */
static int attend_backward(const Attention *a, const float *gate_gradient, AttentionGradients to, float *means_gradient,
                           whole images) {
  const whole row = a->splits * a->width, hidden = a->hidden;
  const Norm norm = norm_of(a->norm.weight ? a->norm.rows : NULL, hidden);
  float *active = alloc(images * hidden), *dz = alloc(images * hidden), *logits = alloc(images * row);
  float *slope = alloc(2 * hidden), *offset = slope + hidden;
  double *sums = calloc(2 * hidden, sizeof(double));
  int failed = !active || !dz || !logits || !slope || !sums;
  if (!failed) {
    for (whole n = 0; n < images; n++) {
      activate_hidden(a->raw + n * hidden, norm, hidden, active + n * hidden);
      gate_backward(a, a->gate + n * row, gate_gradient + n * row, logits + n * row);
    }
    failed |= grouped_backward(logits, active, images, a->groups, hidden / a->groups, row / a->groups, a->attend,
                               to.attend, to.attend_bias, dz);
    for (whole i = 0; i < images * hidden; i++) {
      const whole c = i % hidden;
      if (!(active[i] > 0)) dz[i] = 0;
      if (!norm.scale) continue;
      sums[c] += dz[i];
      sums[hidden + c] += dz[i] * (a->raw[i] - (double)norm.mean[c]);
    }
    if (norm.scale) {
      norm_coefficients(sums, sums + hidden, norm.mean, norm.rstd, norm.scale, images, hidden, slope, offset, to.weight,
                        to.bias);
      if (!a->norm.training) memset(slope, 0, sizeof(float) * 2 * hidden); /* its statistics are constants */
      for (whole i = 0; i < images * hidden; i++) {
        const whole c = i % hidden;
        dz[i] = norm.scale[c] * dz[i] + slope[c] * a->raw[i] + offset[c];
      }
    }
    failed |= grouped_backward(dz, a->means, images, a->groups, a->width / a->groups, hidden / a->groups, a->squeeze,
                               to.squeeze, to.squeeze_bias, means_gradient);
  }
  free(active); free(dz); free(logits); free(slope); free(sums);
  return failed;
}

/* The sums that the map's batch-norm needs: those of dz = mask * (dout * weight + even), and of dz * (x - mean). */
static void sum_gradients(const float *sums, const float *mask_sums, const float *weights, const float *even, whole images,
                          whole channels, double *norm_sums) {
  memset(norm_sums, 0, sizeof(double) * 2 * channels);
  for (whole n = 0; n < images; n++)
    for (whole j = 0; j < 2 * channels; j++) {
      const whole i = n * channels + j % channels, at = 2 * n * channels + j;
      norm_sums[j] += (double)weights[i] * sums[at] + (double)even[i] * mask_sums[at];
    }
}

/* The backward pass of `splits_weigh` from the sums of masks times the output's gradient: the parameters' gradients,
 * the gradient `even` (images, channels) that each pixel of a split gets from its mean, and the sums that the map's
 * batch-norm needs (2, channels). Returns 0, or 1 without memory. */
int splits_weigh_backward(const float *sums, const float *mask_sums, const float *norm_rows, const Attention *attentions,
                          const AttentionGradients *gradients, whole count, const float *means, const float *weights,
                          float *even, double *norm_sums, whole images, whole pixels, whole splits, whole width,
                          whole threads) {
  (void)threads; /* too little work */
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
  float *of_weights = alloc(images * row), *of_gate = alloc(images * row), *of_means = alloc(images * width);
  int failed = !of_weights || !of_gate || !of_means;
  for (whole n = 0; n < (failed ? 0 : images); n++)
    for (whole j = 0; j < row; j++)
      of_weights[n * row + j] = sum_of_split(norm, j, sums + 2 * n * row, row), even[n * row + j] = 0;
  for (whole k = count - 1; k >= 0 && !failed; k--) {
    const Attention *a = attentions + k;
    const float *before = k ? attentions[0].gate : NULL; /* at most two attentions */
    memset(of_gate, 0, sizeof(float) * images * a->splits * width);
    for (whole i = 0; i < images * row; i++) {
      const whole at = a->splits == 1 ? i / row * width + i % width : i;
      of_gate[at] += before ? before[i] * of_weights[i] : of_weights[i];
    }
    failed |= attend_backward(a, of_gate, gradients[k], of_means, images);
    for (whole i = 0; i < images * row; i++) {
      const whole at = i / row * width + i % width;
      even[i] += (before ? before[i] : 1) * of_means[at] / pixels;
      if (before) of_weights[i] = of_weights[i] * a->gate[at] + means[i] * of_means[at];
    }
  }
  if (!failed) sum_gradients(sums, mask_sums, weights, even, images, row, norm_sums);
  free(of_weights); free(of_gate); free(of_means);
  return failed;
}

/* The gradients of x and of the batch-norm's weight and bias from that of the output, and from `splits_norm_sums`. */
int splits_backward(const float *dout, const float *x, const float *norm_rows, const float *weights, const float *even,
                    const double *norm_sums, float *dx, float *weight_gradient, float *bias_gradient, whole images,
                    whole pixels, whole splits, whole width, whole threads) {
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
  float *slopes = alloc(2 * row);
  if (!slopes) return 1;
  norm_coefficients(norm_sums, norm_sums + row, norm.mean, norm.rstd, norm.scale, images * pixels, row, slopes,
                    slopes + row, weight_gradient, bias_gradient);
  const Slopes through = {norm.scale, slopes, slopes + row};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++)
    for (whole p = n * pixels; p < (n + 1) * pixels; p += STRIP)
      for (whole r = 0; r < splits; r++)
        for (whole c = 0; c < width; c += LANES) {
          const whole part = smaller(LANES, width - c), j = r * width + c;
          const Gradient of = gradient_of(through, j, part);
          const Split split = split_of(norm, weights + n * row, even + n * row, j, part);
          for (whole i = p; i < smaller(p + STRIP, (n + 1) * pixels); i++) {
            const vec raw = load_part(x + i * row + j, part);
            const vec dz = split_gradient(split, load_part(dout + i * width + c, part), raw);
            store_part(dx + i * row + j, gradient(of, dz, raw), part);
          }
        }
  free(slopes);
  return 0;
}
