/* A tile: some pixels of a map in fast memory, as input or output of a convolution. */
#ifndef DESIGNSPACE_TILES_H
#define DESIGNSPACE_TILES_H

#include "common.h"

#define BLOCKS 8 /* parts of a batch, the unit of work of a thread */
#define TILE 64  /* pixels that a 1x1 convolution processes at once */

/* Allocate memory that vectors may read beyond its end. */
static float *alloc(whole floats) { return aligned_alloc(64, parts(floats + 4 * PAIR, 16) * 64); }

/* Start to read memory into the second-level cache that will be needed soon. The address may be invalid. */
INLINE void prefetch(const float *from) { __builtin_prefetch(from, 0, 2); }
#define LINE_VECS (16 / LANES) /* vectors of a cache line */

/* A vector of channels `from` to `from + count` of a map; `at` is its offset in a tile's row. */
typedef struct {
  whole from, count, at;
} Slice;

/* Fill in the vectors of a tile whose groups of `width` channels are padded to whole vectors. Returns the count. */
static whole slices(Slice *slice, whole groups, whole width) {
  const whole vecs = parts(width, LANES);
  for (whole g = 0; g < groups; g++)
    for (whole v = 0; v < vecs; v++)
      slice[g * vecs + v] = (Slice){g * width + v * LANES, smaller(LANES, width - v * LANES), (g * vecs + v) * LANES};
  return groups * vecs;
}

/* Batch statistics while they are summed: each channel's sum of values and of squares. */
typedef struct {
  double *sum, *square;
} Sums;

/* Run `step` for i from 0 to count - 1, with u = i % 4 known to the compiler, so that four sums grow in parallel. */
#define FOUR_AT_A_TIME(i, u, count, step)                                   \
  do {                                                                      \
    whole first_ = 0;                                                       \
    for (; first_ + 4 <= (count); first_ += 4)                              \
      _Pragma("GCC unroll 4") for (int u = 0; u < 4; u++) {                 \
        const whole i = first_ + u;                                         \
        step                                                                \
      }                                                                     \
    for (whole i = first_; i < (count); i++) {                              \
      const int u = 0;                                                      \
      step                                                                  \
    }                                                                       \
  } while (0)

/* Write a tile of `count` rows to a map, and add its channels' sums. Squares are taken around the tile's own mean, so
 * that they stay accurate even if the mean is large. */
static void emit(const float *tile, whole tile_row, whole count, const Slice *slice, whole vecs, float *y, whole width,
                 Sums sums) {
  for (whole v = 0; v < vecs; v++) {
    const Slice s = slice[v];
    vec sum[4] = {}, square[4] = {};
    FOUR_AT_A_TIME(i, u, count, {
      const vec value = load(tile + i * tile_row + s.at);
      store_part(y + i * width + s.from, value, s.count);
      sum[u] += value;
    });
    if (!sums.sum) continue;
    const vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]), mean = total / (float)count;
    FOUR_AT_A_TIME(i, u, count, {
      const vec value = load(tile + i * tile_row + s.at) - mean;
      square[u] += value * value;
    });
    const vec squares = (square[0] + square[1]) + (square[2] + square[3]);
    for (whole l = 0; l < s.count; l++) {
      sums.sum[s.from + l] += total[l];
      sums.square[s.from + l] += squares[l] + (double)total[l] * total[l] / count;
    }
  }
}

/* A batch-norm's parameters and statistics, and the memory for its four rows of numbers (see `norm_of`). */
typedef struct {
  const float *weight, *bias;
  float *running_mean, *running_var;
  int64_t *batches;
  double eps, momentum;
  whole training;
  float *rows;
} Learned;

/* Update the running statistics of channel c from its mean and variance over `count` pixels. */
INLINE void update(Learned norm, whole c, whole count, double mean, double variance) {
  norm.running_mean[c] += (float)(norm.momentum * (mean - norm.running_mean[c]));
  norm.running_var[c] += (float)(norm.momentum * (variance * count / (count - 1) - norm.running_var[c]));
}

/* Compute channel c of a batch-norm's rows. */
INLINE void compute_rows(Learned norm, whole c, whole width, double mean, double variance) {
  const double inverse = 1 / sqrt(variance + norm.eps), factor = norm.weight[c] * inverse;
  norm.rows[c] = (float)mean;
  norm.rows[width + c] = (float)inverse;
  norm.rows[2 * width + c] = (float)factor;
  norm.rows[3 * width + c] = (float)(norm.bias[c] - mean * factor);
}

/* Compute a batch-norm's rows from the blocks' sums, and update the running statistics. In evaluation mode the rows
 * follow from the running statistics. */
static void finish(const double *sums, whole blocks, whole count, whole width, Learned norm) {
  for (whole c = 0; c < width; c++) {
    if (!norm.training) {
      compute_rows(norm, c, width, norm.running_mean[c], norm.running_var[c]);
      continue;
    }
    double sum = 0, square = 0;
    for (whole b = 0; b < blocks; b++) {
      sum += sums[2 * b * width + c];
      square += sums[(2 * b + 1) * width + c];
    }
    const double mean = sum / count;
    double variance = square / count - mean * mean;
    if (variance < 0) variance = 0; /* NaN stays NaN */
    update(norm, c, count, mean, variance);
    compute_rows(norm, c, width, mean, variance);
  }
  if (norm.training && norm.batches) ++*norm.batches;
}

/* Coefficients of a batch-norm's backward pass: the gradient of its input is scale * dz + slope * y + offset. */
typedef struct {
  const float *scale, *slope, *offset;
} Slopes;

/* The same for one vector of channels. */
typedef struct {
  vec scale, slope, offset;
} Gradient;

INLINE Gradient gradient_of(Slopes slopes, whole c, whole count) {
  return (Gradient){load_part(slopes.scale + c, count), load_part(slopes.slope + c, count),
                    load_part(slopes.offset + c, count)};
}

INLINE vec gradient(Gradient of, vec dz, vec y) { return of.scale * dz + of.slope * y + of.offset; }

/* Pass a tile of gradients through the ReLU and write it to the map `dx`; add the sums that the batch-norm before it
 * needs. If the convolution's input had no batch-norm, `added` is added instead, and with `keeps` the old value of dx.
 * `pixel` has the map's pixel for each row of the tile. */
static void pass_on(const float *tile, whole tile_row, whole count, const whole *pixel, const Slice *slice, whole vecs,
                    const float *x, Norm norm, const float *added, int keeps, float *dx, whole width, Sums sums) {
  for (whole v = 0; v < vecs; v++) {
    const Slice s = slice[v];
    if (!norm.scale) {
      for (whole i = 0; i < count; i++) {
        const whole at = pixel[i] * width + s.from;
        vec value = load(tile + i * tile_row + s.at);
        if (added) value += load_part(added + at, s.count);
        if (keeps) value += load_part(dx + at, s.count);
        store_part(dx + at, value, s.count);
      }
      continue;
    }
    const vec scale = load_part(norm.scale + s.from, s.count), shift = load_part(norm.shift + s.from, s.count);
    const vec mean = load_part(norm.mean + s.from, s.count);
    vec sum[4] = {}, moment[4] = {};
    FOUR_AT_A_TIME(i, u, count, {
      const whole at = pixel[i] * width + s.from;
      const vec value = load_part(x + at, s.count);
      const vec dz = where_positive(value * scale + shift, load(tile + i * tile_row + s.at));
      store_part(dx + at, dz, s.count);
      sum[u] += dz;
      moment[u] += dz * (value - mean);
    });
    const vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    const vec moments = (moment[0] + moment[1]) + (moment[2] + moment[3]);
    for (whole l = 0; l < s.count; l++) {
      sums.sum[s.from + l] += total[l];
      sums.square[s.from + l] += moments[l];
    }
  }
}

/* Add the sums of all blocks to those of the first. */
static void add_up(double *sums, whole blocks, whole count) {
  for (whole b = 1; b < blocks; b++)
    for (whole i = 0; i < count; i++) sums[i] += sums[b * count + i];
}

#endif
