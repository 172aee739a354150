/* The small network that computes the weights of a map's splits from the means of their maps: squeeze (a product),
 * batch-norm in split attention, ReLU, attend (a product), and a softmax over the splits, or a sigmoid. */
#ifndef DESIGNSPACE_ATTENTION_H
#define DESIGNSPACE_ATTENTION_H

#include "product.h"
#include "splits.h"

#define MOST_ATTENTIONS 2

/* Channels of `groups`: `width` of the maps, `hidden`, and `splits * width` weights, those of a group contiguous before
 * the gate. The weights of both products are (outputs, inputs of a group). `norm` has no weight in
 * squeeze-and-excitation. The last three, and the batch-norm's rows, are memory for what the network computes: the
 * means (images, width), the hidden layer before its batch-norm (images, hidden), and the weights of splits (images,
 * splits * width). */
typedef struct {
  whole width, hidden, splits, groups;
  const float *squeeze, *squeeze_bias, *attend, *attend_bias;
  Learned norm;
  float *means, *raw, *gate;
} Attention;

/* A matrix whose element (i, j) is at[i * row + j * column]. */
typedef struct {
  const float *at;
  whole row, column;
} Matrix;

/* out (rows, columns), of rows of `out_row` floats, = a b + bias, with b packed. Returns 0, or 1 without memory. */
static int multiply_packed(Matrix a, const float *b, whole rows, whole depth, whole columns, const float *bias, float *out,
                           whole out_row) {
  const whole vecs = parts(columns, LANES), none = 0;
  float *tile = alloc((rows + ROWS) * vecs * LANES);
  whole *place = malloc(sizeof(whole) * (rows + ROWS));
  const int failed = !tile || !place;
  if (!failed) {
    for (whole i = 0; i < rows + ROWS; i++) place[i] = smaller(i, rows - 1) * a.row;
    const Factors factors = {a.at, place, &none, a.column, b, &none, depth, 1, depth, depth};
    product(&factors, rows, vecs, tile, vecs * LANES, 0);
    for (whole i = 0; i < rows; i++)
      for (whole j = 0; j < columns; j++)
        out[i * out_row + j] = tile[i * vecs * LANES + j] + (bias ? bias[j] : 0);
  }
  free(tile); free(place);
  return failed;
}

static int multiply(Matrix a, Matrix b, whole rows, whole depth, whole columns, float *out, whole out_row) {
  float *panels = alloc(parts(columns, PAIR) * PAIR * depth);
  if (!panels) return 1;
  pack(b.at, b.row, b.column, depth, columns, panels);
  const int failed = multiply_packed(a, panels, rows, depth, columns, NULL, out, out_row);
  free(panels);
  return failed;
}

/* Pack the weights of a grouped 1x1 convolution; NULL without memory. */
static float *pack_groups(const float *w, whole groups, whole inputs, whole outputs) {
  const whole size = parts(outputs, PAIR) * PAIR * inputs;
  float *panels = alloc(groups * size);
  for (whole g = 0; g < (panels ? groups : 0); g++)
    pack(w + g * outputs * inputs, 1, inputs, inputs, outputs, panels + g * size);
  return panels;
}

/* out (rows, groups * outputs) = a grouped 1x1 convolution of x (rows, groups * inputs), with packed weights. */
static int grouped(const float *x, whole rows, whole groups, whole inputs, whole outputs, const float *panels,
                   const float *bias, float *out) {
  const whole size = parts(outputs, PAIR) * PAIR * inputs;
  int failed = 0;
  for (whole g = 0; g < groups; g++)
    failed |= multiply_packed((Matrix){x + g * inputs, groups * inputs, 1}, panels + g * size, rows, inputs, outputs,
                              bias + g * outputs, out + g * outputs, groups * outputs);
  return failed;
}

/* The gradients of the weights (dw, and those of the bias) and of x (dx) of `grouped`. */
static int grouped_backward(const float *dy, const float *x, whole rows, whole groups, whole inputs, whole outputs,
                            const float *w, float *dw, float *bias_gradient, float *dx) {
  const whole row = groups * outputs, in_row = groups * inputs;
  int failed = 0;
  for (whole g = 0; g < groups; g++) {
    const float *dy_here = dy + g * outputs, *w_here = w + g * outputs * inputs;
    failed |= multiply((Matrix){dy_here, 1, row}, (Matrix){x + g * inputs, in_row, 1}, outputs, rows, inputs,
                       dw + g * outputs * inputs, inputs);
    failed |= multiply((Matrix){dy_here, row, 1}, (Matrix){w_here, inputs, 1}, rows, outputs, inputs, dx + g * inputs,
                       in_row);
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

/* An attention with packed weights. */
typedef struct {
  Attention of;
  float *squeeze, *attend;
} Packed;

/* Pack the weights of an attention. Returns 0, or 1 without memory. */
static int pack_attention(const Attention *a, Packed *packed) {
  const whole hidden = a->hidden / a->groups;
  packed->of = *a;
  packed->squeeze = pack_groups(a->squeeze, a->groups, a->width / a->groups, hidden);
  packed->attend = pack_groups(a->attend, a->groups, hidden, a->splits * a->width / a->groups);
  return !packed->squeeze || !packed->attend;
}

/* Compute the gate of an attention from its means. Returns 0, or 1 without memory. */
static int attend(const Packed *packed, whole images) {
  const Attention *a = &packed->of;
  const whole row = a->splits * a->width;
  float *active = alloc(images * a->hidden), *logits = alloc(images * row);
  double *sums = calloc(2 * a->hidden, sizeof(double));
  int failed = !active || !logits || !sums;
  if (!failed) {
    failed |= grouped(a->means, images, a->groups, a->width / a->groups, a->hidden / a->groups, packed->squeeze,
                      a->squeeze_bias, a->raw);
    if (a->norm.weight) {
      for (whole n = 0; n < images; n++)
        for (whole c = 0; c < a->hidden; c++) {
          const double value = a->raw[n * a->hidden + c];
          sums[c] += value, sums[a->hidden + c] += value * value;
        }
      finish(sums, 1, images, a->hidden, a->norm);
    }
    const Norm norm = norm_of(a->norm.weight ? a->norm.rows : NULL, a->hidden);
    for (whole n = 0; n < images; n++)
      activate_hidden(a->raw + n * a->hidden, norm, a->hidden, active + n * a->hidden);
    failed |= grouped(active, images, a->groups, a->hidden / a->groups, row / a->groups, packed->attend, a->attend_bias,
                      logits);
    for (whole n = 0; n < images; n++) gate(a, logits + n * row, a->gate + n * row);
  }
  free(active); free(logits); free(sums);
  return failed;
}

/* Compute the weights of splits (images, splits * width) from their means. The first attention has a gate for each
 * split; later ones (squeeze-and-excitation) see the means of the weighted sum, and multiply the weights of all
 * splits. */
static int weigh(const Packed *attentions, whole count, const float *means, whole images, whole splits, float *weights) {
  int failed = 0;
  for (whole k = 0; k < count; k++) {
    const Attention *a = &attentions[k].of;
    for (whole n = 0; n < images; n++)
      for (whole c = 0; c < a->width; c++) {
        float sum = 0;
        for (whole r = 0, i = n * splits * a->width + c; r < splits; r++, i += a->width)
          sum += k ? means[i] * weights[i] : means[i];
        a->means[n * a->width + c] = sum;
      }
    failed |= attend(attentions + k, images);
    for (whole n = 0; n < images; n++)
      for (whole r = 0; r < splits; r++)
        for (whole c = 0; c < a->width; c++) {
          const whole i = (n * splits + r) * a->width + c;
          const float gate = a->gate[a->splits == 1 ? n * a->width + c : i];
          weights[i] = k ? weights[i] * gate : gate;
        }
  }
  return failed;
}

#endif
