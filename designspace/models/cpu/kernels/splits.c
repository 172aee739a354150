/* Split attention, and squeeze-and-excitation, which is split attention with one split.
 *
 * x (images, pixels, splits * width) is a map before its batch-norm, which is applied while the map is read:
 * split = relu(x * scale + shift). The output is the sum of the splits times their weights, which depend on the splits'
 * means (`attention.h`).
 *
 * Backward, all sums over pixels are linear in four numbers per image and channel: the sums of mask and of
 * mask * (x - mean), where the mask is 1 for positive splits, and the same with the output's gradient as a factor. So the
 * weights' gradients and those of the batch-norm need no further pass over the map. */
#include "attention.h"

#define STRIP 8 /* pixels that one inner loop processes, so that the rows of wide maps stay in the first-level cache */

/* The means (images, splits * width) of the splits, and the sums of their masks (see `masked_sums`). */
int splits_pool(const float *x, const float *norm_rows, float *means, float *mask_sums, whole images, whole pixels,
                whole splits, whole width, whole threads) {
  const whole row = splits * width;
  const Norm norm = norm_of(norm_rows, row);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    float *sums = mask_sums + 2 * n * row;
    memset(sums, 0, sizeof(float) * 2 * row);
    for (whole p = 0; p < pixels; p += TILE)
      masked_sums(NULL, 0, x + (n * pixels + p) * row, norm, smaller(TILE, pixels - p), splits, width, sums);
    for (whole j = 0; j < row; j++) means[n * row + j] = sum_of_split(norm, j, sums, row) / pixels;
  }
  return 0;
}

/* The weights of splits from their means; see `attend`. */
int attention_forward(const Attention *attention, const float *means, float *raw, float *norm_rows, float *weights,
                      whole images, whole threads) {
  (void)threads; /* too little work */
  return attend(attention, means, images, raw, norm_rows, weights);
}

/* The backward pass of `attention_forward`: the gradients of its six parameters, of which those of the batch-norm may be
 * NULL, and of the means. */
int attention_backward(const Attention *a, const float *means, const float *raw, const float *norm_rows,
                       const float *weights, const float *weights_gradient, float *squeeze, float *squeeze_bias,
                       float *norm_weight, float *norm_bias, float *attend, float *attend_bias, float *means_gradient,
                       whole images, whole threads) {
  (void)threads;
  const whole row = a->splits * a->width, hidden = a->hidden;
  const Norm norm = norm_of(a->weight ? norm_rows : NULL, hidden);
  float *active = alloc(images * hidden), *dz = alloc(images * hidden), *logits = alloc(images * row);
  float *slope = alloc(2 * hidden), *offset = slope + hidden;
  double *sums = calloc(2 * hidden, sizeof(double));
  int failed = !active || !dz || !logits || !slope || !sums;
  if (!failed) {
    for (whole n = 0; n < images; n++) {
      activate_hidden(raw + n * hidden, norm, hidden, active + n * hidden);
      gate_backward(a, weights + n * row, weights_gradient + n * row, logits + n * row);
    }
    failed |= grouped_backward(logits, active, images, a->groups, hidden / a->groups, row / a->groups, a->attend, attend,
                               attend_bias, dz);
    for (whole n = 0; n < images; n++)
      for (whole c = 0; c < hidden; c++) {
        const whole i = n * hidden + c;
        if (!(active[i] > 0)) dz[i] = 0;
        if (!norm.scale) continue;
        sums[c] += dz[i];
        sums[hidden + c] += dz[i] * (raw[i] - (double)norm.mean[c]);
      }
    if (norm.scale) {
      norm_coefficients(sums, sums + hidden, norm.mean, norm.rstd, norm.scale, images, hidden, slope, offset, norm_weight,
                        norm_bias);
      if (!a->training) memset(slope, 0, sizeof(float) * 2 * hidden); /* its statistics are constants */
      for (whole i = 0; i < images * hidden; i++) {
        const whole c = i % hidden;
        dz[i] = norm.scale[c] * dz[i] + slope[c] * raw[i] + offset[c];
      }
    }
    failed |= grouped_backward(dz, means, images, a->groups, a->width / a->groups, hidden / a->groups, a->squeeze,
                               squeeze, squeeze_bias, means_gradient);
  }
  free(active); free(dz); free(logits); free(slope); free(sums);
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

/* The gradient of the weights (images, channels): the sums over pixels of the split times the output's gradient. */
int splits_weights_gradient(const float *sums, const float *norm_rows, float *gradient, whole images, whole channels,
                            whole threads) {
  (void)threads;
  const Norm norm = norm_of(norm_rows, channels);
  for (whole n = 0; n < images; n++)
    for (whole j = 0; j < channels; j++)
      gradient[n * channels + j] = sum_of_split(norm, j, sums + 2 * n * channels, channels);
  return 0;
}

/* The sums that the batch-norm needs: those of dz = mask * (dout * weight + even), and of dz * (x - mean). `even` has the
 * gradient of the means, and is divided by the number of pixels, which makes it that of each pixel. */
int splits_norm_sums(const float *sums, const float *mask_sums, const float *weights, float *even, double *norm_sums,
                     whole images, whole pixels, whole channels, whole threads) {
  (void)threads;
  memset(norm_sums, 0, sizeof(double) * 2 * channels);
  for (whole n = 0; n < images; n++)
    for (whole j = 0; j < channels; j++) {
      const whole i = n * channels + j, at = 2 * n * channels + j;
      even[i] /= pixels;
      norm_sums[j] += (double)weights[i] * sums[at] + (double)even[i] * mask_sums[at];
      norm_sums[channels + j] +=
          (double)weights[i] * sums[at + channels] + (double)even[i] * mask_sums[at + channels];
    }
  return 0;
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
