/* Batch-norm with the operations after it (a shortcut's addition, a ReLU), in as few passes over memory as possible.
 * All maps are float32 and channels last: `rows` = N * H * W rows of `width` channels.
 *
 * Sums do not depend on the number of threads: rows are divided into blocks by their number alone, each block is summed
 * in order, and blocks are added in order. Within a block, floats are summed over a few rows, then doubles.
 */
#include "tiles.h"

#define PARTS 64       /* parts of a map, the unit of work of a thread */
#define FLOAT_ROWS 256  /* rows that are summed in float32 */
#define LINE 512        /* floats of several narrow rows that one inner loop processes; wider rows one by one */

/* Rows per block, which depend only on the map; the last block may be short or empty. */
static whole block_rows(whole rows) { return (rows + PARTS - 1) / PARTS; }

/* Number of rows that one inner loop processes. */
static whole rows_together(whole width) { return width >= LINE ? 1 : LINE / width; }

/* Return `count` contiguous copies of a row. */
static float *repeated(const float *row, whole width, whole count) {
  float *copies = malloc(sizeof(float) * width * count);
  for (whole i = 0; copies && i < count; i++) memcpy(copies + i * width, row, sizeof(float) * width);
  return copies;
}

/* Add `count` rows of floats to one row of doubles, and clear them. */
static void flush(float *floats, double *doubles, whole width, whole count) {
  for (whole i = 0; i < count; i++)
    for (whole c = 0; c < width; c++) doubles[c] += floats[i * width + c];
  memset(floats, 0, sizeof(float) * width * count);
}

/* Sum the blocks' rows of doubles, in order, into the first. */
static void add_blocks(double *sums, whole width) {
  for (whole block = 1; block < PARTS; block++)
    for (whole c = 0; c < width; c++) sums[c] += sums[block * width + c];
}

/* Compute the rows of a batch-norm (see `norm_of`) from its map, or from its running statistics in evaluation mode.
 * `sums`: memory for 2 * PARTS * width doubles. Returns 0, or 1 if out of memory. */
int norm_statistics(const float *x, whole rows, whole width, const float *weight, const float *bias, float *running_mean,
                    float *running_var, int64_t *batches, double eps, double momentum, whole training, float *norm_rows,
                    double *sums, whole threads) {
  const Learned norm = {weight, bias, running_mean, running_var, batches, eps, momentum, training, norm_rows};
  if (!training) {
    finish(NULL, 0, 0, width, norm);
    return 0;
  }
  const whole together = rows_together(width), size = block_rows(rows);
  double *squares = sums + PARTS * width;
  /* The first row is subtracted, so that sums of squares stay accurate even if the mean is large. */
  float *first = repeated(x, width, together);
  int failed = first == NULL;
  memset(sums, 0, sizeof(double) * 2 * PARTS * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < PARTS; block++) {
    float *sum = calloc(2 * width * together, sizeof(float)), *square = sum + width * together;
    if (!sum || !first) { failed = 1; free(sum); continue; }
    const whole end = smaller(rows, (block + 1) * size) * width;
    whole taken = 0;
    for (whole i = block * size * width; i < end; i += width * together) {
      const whole count = smaller(width * together, end - i);
      for (whole j = 0; j < count; j++) {
        const float value = x[i + j] - first[j];
        sum[j] += value;
        square[j] += value * value;
      }
      if (++taken == FLOAT_ROWS || i + width * together >= end) {
        flush(sum, sums + block * width, width, together);
        flush(square, squares + block * width, width, together);
        taken = 0;
      }
    }
    free(sum);
  }
  add_blocks(sums, width);
  add_blocks(squares, width);
  for (whole c = 0; c < width && !failed; c++) {
    const double centre = sums[c] / rows, spread = squares[c] / rows - centre * centre;
    const double variance = spread < 0 ? 0 : spread; /* NaN stays NaN */
    update(norm, c, rows, centre + x[c], variance);
    compute_rows(norm, c, width, centre + x[c], variance);
  }
  if (!failed) ++*batches;
  free(first);
  return failed;
}

/* y = x * scale + shift, plus `shortcut` unless that is NULL, and then a ReLU if `relu`. y may be x. */
int norm_forward(const float *x, const float *shortcut, const float *norm_rows, float *y, whole rows, whole width,
                 whole relu, whole threads) {
  const Norm norm = norm_of(norm_rows, width);
  const whole together = rows_together(width), size = block_rows(rows);
  float *a = repeated(norm.scale, width, together), *b = repeated(norm.shift, width, together);
  const int failed = !a || !b;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : PARTS); block++) {
    const whole end = smaller(rows, (block + 1) * size) * width;
    for (whole i = block * size * width; i < end; i += width * together) {
      const whole count = smaller(width * together, end - i);
      const float *in = x + i, *added = shortcut + i;
      float *out = y + i;
      if (shortcut && relu) {
        for (whole j = 0; j < count; j++) {
          const float value = in[j] * a[j] + b[j] + added[j];
          out[j] = value < 0 ? 0 : value; /* NaN stays NaN */
        }
      } else if (relu) {
        for (whole j = 0; j < count; j++) {
          const float value = in[j] * a[j] + b[j];
          out[j] = value < 0 ? 0 : value;
        }
      } else if (shortcut) {
        for (whole j = 0; j < count; j++) out[j] = in[j] * a[j] + b[j] + added[j];
      } else {
        for (whole j = 0; j < count; j++) out[j] = in[j] * a[j] + b[j];
      }
    }
  }
  free(a);
  free(b);
  return failed;
}

/* The backward pass of norm_forward on batch statistics.
 *
 * `y` is the output if a shortcut was added (its sign is the ReLU's mask), else NULL. With a shortcut,
 * `shortcut_gradient` receives the gradient before the ReLU. `sums`: memory for 2 * PARTS * width doubles. */
int norm_backward(const float *dy, const float *x, const float *y, const float *norm_rows, float *shortcut_gradient,
                  float *dx, float *weight_gradient, float *bias_gradient, double *sums, whole rows, whole width,
                  whole relu, whole threads) {
  const Norm norm = norm_of(norm_rows, width);
  const whole together = rows_together(width), size = block_rows(rows);
  double *products = sums + PARTS * width;
  float *a = repeated(norm.scale, width, together), *b = repeated(norm.shift, width, together);
  float *m = repeated(norm.mean, width, together), *slope = malloc(sizeof(float) * 2 * width);
  float *slopes = NULL, *offsets = NULL;
  int failed = !a || !b || !m || !slope;
  memset(sums, 0, sizeof(double) * 2 * PARTS * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : PARTS); block++) {
    float *sum = calloc(2 * width * together, sizeof(float)), *product = sum + width * together;
    if (!sum) { failed = 1; continue; }
    const whole end = smaller(rows, (block + 1) * size) * width;
    whole taken = 0;
    for (whole i = block * size * width; i < end; i += width * together) {
      const whole count = smaller(width * together, end - i);
      const float *in = x + i, *g = dy + i;
      if (y) {
        const float *sign = y + i;
        float *kept = shortcut_gradient + i;
        for (whole j = 0; j < count; j++) {
          const float dz = relu && !(sign[j] > 0) ? 0 : g[j];
          kept[j] = dz;
          sum[j] += dz;
          product[j] += dz * (in[j] - m[j]);
        }
      } else if (relu) {
        for (whole j = 0; j < count; j++) {
          const float dz = in[j] * a[j] + b[j] > 0 ? g[j] : 0;
          sum[j] += dz;
          product[j] += dz * (in[j] - m[j]);
        }
      } else {
        for (whole j = 0; j < count; j++) {
          sum[j] += g[j];
          product[j] += g[j] * (in[j] - m[j]);
        }
      }
      if (++taken == FLOAT_ROWS || i + width * together >= end) {
        flush(sum, sums + block * width, width, together);
        flush(product, products + block * width, width, together);
        taken = 0;
      }
    }
    free(sum);
  }
  if (!failed) {
    add_blocks(sums, width);
    add_blocks(products, width);
    norm_coefficients(sums, products, norm.mean, norm.rstd, norm.scale, rows, width, slope, slope + width, weight_gradient,
                      bias_gradient);
    slopes = repeated(slope, width, together);
    offsets = repeated(slope + width, width, together);
    failed = !slopes || !offsets;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : PARTS); block++) {
    const whole end = smaller(rows, (block + 1) * size) * width;
    for (whole i = block * size * width; i < end; i += width * together) {
      const whole count = smaller(width * together, end - i);
      const float *in = x + i, *g = (y ? shortcut_gradient : dy) + i;
      float *out = dx + i;
      if (relu && !y) {
        for (whole j = 0; j < count; j++) {
          const float dz = in[j] * a[j] + b[j] > 0 ? g[j] : 0;
          out[j] = a[j] * dz + slopes[j] * in[j] + offsets[j];
        }
      } else {
        for (whole j = 0; j < count; j++) out[j] = a[j] * g[j] + slopes[j] * in[j] + offsets[j];
      }
    }
  }
  free(a); free(b); free(m); free(slope); free(slopes); free(offsets);
  return failed;
}
