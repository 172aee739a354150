/* The small network that computes the weights of splits from the means of their maps: squeeze (a product), batch-norm
 * in split attention, ReLU, attend (a product), and a softmax over the splits, or a sigmoid. */
#ifndef DESIGNSPACE_ATTENTION_H
#define DESIGNSPACE_ATTENTION_H

#include "product.h"
#include "tiles.h"

/* Channels of `groups`: `width` of the maps, `hidden`, and `splits * width` weights, those of a group contiguous before
 * the gate. The weights of both products are (outputs, inputs of a group). `norm` is NULL in squeeze-and-excitation. */
typedef struct {
  whole width, hidden, splits, groups;
  const float *squeeze, *squeeze_bias, *attend, *attend_bias;
  const float *weight, *bias;
  float *running_mean, *running_var;
  int64_t *batches;
  double eps, momentum;
  whole training;
} Attention;

/* A matrix whose element (i, j) is at[i * row + j * column]. */
typedef struct {
  const float *at;
  whole row, column;
} Matrix;

/* out (rows, columns), of rows of `out_row` floats, = a b + bias. Returns 0, or 1 without memory. */
static int multiply(Matrix a, Matrix b, whole rows, whole depth, whole columns, const float *bias, float *out,
                    whole out_row) {
  const whole vecs = parts(columns, LANES), none = 0;
  float *panels = alloc(parts(columns, PAIR) * PAIR * depth), *tile = alloc((rows + ROWS) * vecs * LANES);
  whole *place = malloc(sizeof(whole) * (rows + ROWS));
  const int failed = !panels || !tile || !place;
  if (!failed) {
    pack(b.at, b.row, b.column, depth, columns, panels);
    for (whole i = 0; i < rows + ROWS; i++) place[i] = smaller(i, rows - 1) * a.row;
    const Factors factors = {a.at, place, &none, a.column, panels, &none, depth, 1, depth, depth};
    product(&factors, rows, vecs, tile, vecs * LANES, 0);
    for (whole i = 0; i < rows; i++)
      for (whole j = 0; j < columns; j++)
        out[i * out_row + j] = tile[i * vecs * LANES + j] + (bias ? bias[j] : 0);
  }
  free(panels); free(tile); free(place);
  return failed;
}

/* out (rows, groups * outputs) = a grouped 1x1 convolution of x (rows, groups * inputs). */
static int grouped(const float *x, whole rows, whole groups, whole inputs, whole outputs, const float *w,
                   const float *bias, float *out) {
  int failed = 0;
  for (whole g = 0; g < groups; g++)
    failed |= multiply((Matrix){x + g * inputs, groups * inputs, 1}, (Matrix){w + g * outputs * inputs, 1, inputs}, rows,
                       inputs, outputs, bias ? bias + g * outputs : NULL, out + g * outputs, groups * outputs);
  return failed;
}

/* The gradients of the weights (dw, and those of the bias) and of x (dx) of `grouped`. */
static int grouped_backward(const float *dy, const float *x, whole rows, whole groups, whole inputs, whole outputs,
                            const float *w, float *dw, float *bias_gradient, float *dx) {
  const whole row = groups * outputs, in_row = groups * inputs;
  int failed = 0;
  for (whole g = 0; g < groups; g++) {
    const float *dy_here = dy + g * outputs, *w_here = w + g * outputs * inputs;
    failed |= multiply((Matrix){dy_here, 1, row}, (Matrix){x + g * inputs, in_row, 1}, outputs, rows, inputs, NULL,
                       dw + g * outputs * inputs, inputs);
    failed |= multiply((Matrix){dy_here, row, 1}, (Matrix){w_here, inputs, 1}, rows, outputs, inputs, NULL,
                       dx + g * inputs, in_row);
  }
  memset(bias_gradient, 0, sizeof(float) * row);
  for (whole i = 0; i < rows; i++)
    for (whole j = 0; j < row; j++) bias_gradient[j] += dy[i * row + j];
  return failed;
}

/* Apply batch-norm, if any, and ReLU to a row of hidden channels. */
INLINE void activate_hidden(const float *raw, Norm norm, whole width, float *out) {
  for (whole c = 0; c < width; c++) {
    const float value = norm.scale ? raw[c] * norm.scale[c] + norm.shift[c] : raw[c];
    out[c] = value < 0 ? 0 : value; /* NaN stays NaN */
  }
}

/* Turn a row of logits into weights, whose order is split by split instead of group by group. */
static void gate(const Attention *a, const float *logits, float *weights) {
  const whole width = a->width / a->groups; /* of a group */
  for (whole g = 0; g < a->groups; g++)
    for (whole c = 0; c < width; c++) {
      const float *from = logits + g * a->splits * width + c;
      float *to = weights + g * width + c, highest = from[0], sum = 0;
      if (a->splits == 1) {
        *to = 1 / (1 + expf(-*from));
        continue;
      }
      for (whole r = 1; r < a->splits; r++) highest = from[r * width] > highest ? from[r * width] : highest;
      for (whole r = 0; r < a->splits; r++) sum += to[r * a->width] = expf(from[r * width] - highest);
      for (whole r = 0; r < a->splits; r++) to[r * a->width] /= sum;
    }
}

/* The gradient of a row of logits from that of the weights. */
static void gate_backward(const Attention *a, const float *weights, const float *gradient, float *logits_gradient) {
  const whole width = a->width / a->groups;
  for (whole g = 0; g < a->groups; g++)
    for (whole c = 0; c < width; c++) {
      const float *w = weights + g * width + c, *dw = gradient + g * width + c;
      float *to = logits_gradient + g * a->splits * width + c, mean = a->splits == 1 ? *dw * *w : 0;
      for (whole r = 0; r < a->splits && a->splits > 1; r++) mean += w[r * a->width] * dw[r * a->width];
      for (whole r = 0; r < a->splits; r++) to[r * width] = w[r * a->width] * (dw[r * a->width] - mean);
    }
}

/* weights (images, splits * width) from the means (images, width). `raw` is the hidden layer before its batch-norm, and
 * `norm_rows` are the batch-norm's rows, if any. Returns 0, or 1 without memory. */
static int attend(const Attention *a, const float *means, whole images, float *raw, float *norm_rows, float *weights) {
  const whole row = a->splits * a->width;
  float *active = alloc(images * a->hidden), *logits = alloc(images * row);
  double *sums = calloc(2 * a->hidden, sizeof(double));
  int failed = !active || !logits || !sums;
  if (!failed) {
    failed |= grouped(means, images, a->groups, a->width / a->groups, a->hidden / a->groups, a->squeeze,
                      a->squeeze_bias, raw);
    if (a->weight) {
      for (whole n = 0; n < images; n++)
        for (whole c = 0; c < a->hidden; c++) {
          const double value = raw[n * a->hidden + c];
          sums[c] += value, sums[a->hidden + c] += value * value;
        }
      finish(sums, 1, images, a->hidden,
             (Learned){a->weight, a->bias, a->running_mean, a->running_var, a->batches, a->eps, a->momentum, a->training,
                       norm_rows});
    }
    const Norm norm = norm_of(a->weight ? norm_rows : NULL, a->hidden);
    for (whole n = 0; n < images; n++)
      activate_hidden(raw + n * a->hidden, norm, a->hidden, active + n * a->hidden);
    failed |= grouped(active, images, a->groups, a->hidden / a->groups, row / a->groups, a->attend, a->attend_bias,
                      logits);
    for (whole n = 0; n < images; n++) gate(a, logits + n * row, weights + n * row);
  }
  free(active); free(logits); free(sums);
  return failed;
}

#endif
