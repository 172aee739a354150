/* A map whose channels are splits: the next convolution reads their sum, each after batch-norm and ReLU, and weighted
 * by image and channel. This is split attention; with one split it is squeeze-and-excitation.
 *
 * Backward, all sums over pixels are linear in four numbers per image and channel: the sums of mask and of mask * (x -
 * mean), where the mask is 1 for positive splits, and the same with the output's gradient as a factor. So the gradients
 * of the weights and of the batch-norm need no further pass over the map. */
#ifndef DESIGNSPACE_SPLITS_H
#define DESIGNSPACE_SPLITS_H

#include "tiles.h"

/* `weights` (images, count * width) is NULL if the map has no splits. */
typedef struct {
  const float *weights;
  whole count, pixels; /* of an image */
} Splits;

/* Add sums over `count` pixels of an image to `sums` (2, splits * width): those of dz, the gradient where x is positive
 * after batch-norm, and of dz * (x - mean). Rows of the gradient have `gradient_row` floats; NULL is 1 everywhere. */
static void masked_sums(const float *gradient, whole gradient_row, const float *x, Norm norm, whole count, whole splits,
                        whole width, float *sums) {
  const whole row = splits * width;
  for (whole r = 0; r < splits; r++)
    for (whole c = 0; c < width; c += LANES) {
      const whole part = smaller(LANES, width - c), j = r * width + c;
      const vec scale = load_part(norm.scale + j, part), shift = load_part(norm.shift + j, part);
      const vec mean = load_part(norm.mean + j, part);
      vec sum[4] = {}, moment[4] = {};
      FOUR_AT_A_TIME(i, u, count, {
        const vec value = load_part(x + i * row + j, part);
        const vec factor = gradient ? load_part(gradient + i * gradient_row + c, part) : all(1);
        const vec dz = where_positive(value * scale + shift, factor);
        sum[u] += dz;
        moment[u] += dz * (value - mean);
      });
      float *to = sums + j;
      store_part(to, load_part(to, part) + ((sum[0] + sum[1]) + (sum[2] + sum[3])), part);
      to += row;
      store_part(to, load_part(to, part) + ((moment[0] + moment[1]) + (moment[2] + moment[3])), part);
    }
}

/* The sum of relu(x * scale + shift), times the gradient, from the two sums of channel j. */
INLINE float sum_of_split(Norm norm, whole j, const float *sums, whole row) {
  const double at_mean = norm.shift[j] + (double)norm.scale[j] * norm.mean[j];
  return (float)((double)norm.scale[j] * sums[row + j] + at_mean * sums[j]);
}

/* Write weighted sums of splits to a tile: `count` pixels of x (images, pixels, splits * width), and rows of `tile_row`
 * floats. */
static void fetch_splits(const float *x, Norm norm, Splits splits, const whole *pixel, whole count, whole width,
                         float *tile, whole tile_row) {
  const whole row = splits.count * width;
  const float *weights[TILE];
  for (whole i = 0; i < count; i++) weights[i] = splits.weights + pixel[i] / splits.pixels * row;
  for (whole c = 0; c < width; c += LANES)
    for (whole r = 0, j = c; r < splits.count; r++, j += width) {
      const whole part = smaller(LANES, width - c);
      const vec scale = load_part(norm.scale + j, part), shift = load_part(norm.shift + j, part);
      for (whole i = 0; i < count; i++) {
        float *to = tile + i * tile_row + c;
        const vec split = positive(load_part(x + pixel[i] * row + j, part) * scale + shift);
        store(to, (r ? load(to) : (vec){}) + split * load_part(weights[i] + j, part));
      }
    }
}

/* The means of an image's splits (splits * width), and the sums of their masks. */
static void average(const float *x, Norm norm, whole pixels, whole splits, whole width, float *mask_sums, float *means) {
  const whole row = splits * width;
  memset(mask_sums, 0, sizeof(float) * 2 * row);
  for (whole p = 0; p < pixels; p += TILE)
    masked_sums(NULL, 0, x + p * row, norm, smaller(TILE, pixels - p), splits, width, mask_sums);
  for (whole j = 0; j < row; j++) means[j] = sum_of_split(norm, j, mask_sums, row) / pixels;
}

/* The numbers that the gradient of a split's batch-norm needs, for one vector of channels: its scale and shift, its
 * weight, and the gradient of the means, which each pixel gets. */
typedef struct {
  vec scale, shift, weight, even;
} Split;

INLINE Split split_of(Norm norm, const float *weights, const float *even, whole j, whole count) {
  return (Split){load_part(norm.scale + j, count), load_part(norm.shift + j, count), load_part(weights + j, count),
                 load_part(even + j, count)};
}

INLINE vec split_gradient(Split of, vec dout, vec x) {
  return where_positive(x * of.scale + of.shift, dout * of.weight + of.even);
}

#endif
