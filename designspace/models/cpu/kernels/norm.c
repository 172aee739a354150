/* Batch-norm with the operations after it (a shortcut's addition, a ReLU, split attention), in as few passes over
 * memory as possible. All maps are float32 and channels last: `rows` = N * H * W rows of `width` channels.
 *
 * Sums do not depend on the number of threads: rows are divided into blocks by their number alone, each block is summed
 * in order, and blocks are added in order. Within a block, floats are summed over a few rows, then doubles.
 */
#include "common.h"

#define BLOCKS 64       /* parts of a map, the unit of work of a thread */
#define FLOAT_ROWS 256  /* rows that are summed in float32 */
#define LINE 512        /* floats of several narrow rows that one inner loop processes; wider rows one by one */

/* Rows per block, which depend only on the map; the last block may be short or empty. */
static whole block_rows(whole rows) { return (rows + BLOCKS - 1) / BLOCKS; }

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
  for (whole block = 1; block < BLOCKS; block++)
    for (whole c = 0; c < width; c++) sums[c] += sums[block * width + c];
}

/* Mean and biased variance of each channel. `sums`: memory for 2 * BLOCKS * width doubles. Returns 0, or 1 if out of
 * memory. */
int norm_statistics(const float *x, whole rows, whole width, float *mean, float *variance, double *sums, whole threads) {
  const whole together = rows_together(width), size = block_rows(rows);
  double *squares = sums + BLOCKS * width;
  /* The first row is subtracted, so that sums of squares stay accurate even if the mean is large. */
  float *first = repeated(x, width, together);
  int failed = first == NULL;
  memset(sums, 0, sizeof(double) * 2 * BLOCKS * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < BLOCKS; block++) {
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
    mean[c] = (float)(centre + x[c]);
    variance[c] = spread > 0 || spread != spread ? (float)spread : 0;
  }
  free(first);
  return failed;
}

/* y = x * scale + shift, plus `shortcut` unless that is NULL, and then a ReLU if `relu`. y may be x. */
int norm_forward(const float *x, const float *shortcut, const float *scale, const float *shift, float *y, whole rows,
                 whole width, whole relu, whole threads) {
  const whole together = rows_together(width), size = block_rows(rows);
  float *a = repeated(scale, width, together), *b = repeated(shift, width, together);
  const int failed = !a || !b;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
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
 * `shortcut_gradient` receives the gradient before the ReLU. `sums`: memory for 2 * BLOCKS * width doubles. */
int norm_backward(const float *dy, const float *x, const float *y, const float *mean, const float *rstd,
                  const float *scale, const float *shift, float *shortcut_gradient, float *dx, float *weight_gradient,
                  float *bias_gradient, double *sums, whole rows, whole width, whole relu, whole threads) {
  const whole together = rows_together(width), size = block_rows(rows);
  double *products = sums + BLOCKS * width;
  float *a = repeated(scale, width, together), *b = repeated(shift, width, together);
  float *m = repeated(mean, width, together), *slope = malloc(sizeof(float) * 2 * width);
  float *slopes = NULL, *offsets = NULL;
  int failed = !a || !b || !m || !slope;
  memset(sums, 0, sizeof(double) * 2 * BLOCKS * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
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
    norm_coefficients(sums, products, mean, rstd, scale, rows, width, slope, slope + width, weight_gradient,
                      bias_gradient);
    slopes = repeated(slope, width, together);
    offsets = repeated(slope + width, width, together);
    failed = !slopes || !offsets;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
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

/* Split attention. x (images, pixels, radix * width) are the splits before their batch-norm, which is applied while
 * they are read: split = relu(x * scale + shift). Only dx, of all arrays of a split's size, is ever written. */

/* pooled (images, width): the mean over pixels of the sum of an image's splits. */
int splits_pool(const float *x, const float *scale, const float *shift, float *pooled, whole images, whole pixels,
                whole radix, whole width, whole threads) {
  int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    const whole row = radix * width;
    float *sum = calloc(row, sizeof(float));
    double *total = calloc(row, sizeof(double));
    if (!sum || !total) { failed = 1; free(sum); free(total); continue; }
    for (whole p = 0; p < pixels; p++) {
      const float *in = x + (n * pixels + p) * row;
      for (whole j = 0; j < row; j++) {
        const float value = in[j] * scale[j] + shift[j];
        sum[j] += value < 0 ? 0 : value;
      }
      if (p % FLOAT_ROWS == FLOAT_ROWS - 1 || p == pixels - 1) flush(sum, total, row, 1);
    }
    for (whole c = 0; c < width; c++) {
      double all = 0;
      for (whole r = 0; r < radix; r++) all += total[r * width + c];
      pooled[n * width + c] = (float)(all / pixels);
    }
    free(sum);
    free(total);
  }
  return failed;
}

/* out (images, pixels, width): the sum of the splits times `weights` (images, radix * width). */
int splits_combine(const float *x, const float *scale, const float *shift, const float *weights, float *out,
                   whole images, whole pixels, whole radix, whole width, whole threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    const whole row = radix * width;
    for (whole p = 0; p < pixels; p++) {
      const float *in = x + (n * pixels + p) * row, *w = weights + n * row;
      float *sum = out + (n * pixels + p) * width;
      for (whole r = 0; r < radix; r++) {
        const float *split = in + r * width, *a = scale + r * width, *b = shift + r * width, *v = w + r * width;
        if (r == 0) {
          for (whole c = 0; c < width; c++) {
            const float value = split[c] * a[c] + b[c];
            sum[c] = (value < 0 ? 0 : value) * v[c];
          }
        } else {
          for (whole c = 0; c < width; c++) {
            const float value = split[c] * a[c] + b[c];
            sum[c] += (value < 0 ? 0 : value) * v[c];
          }
        }
      }
    }
  }
  return 0;
}

/* weight_gradient (images, radix * width): the sum over pixels of dout * split. */
int splits_weight_gradient(const float *dout, const float *x, const float *scale, const float *shift,
                           float *weight_gradient, whole images, whole pixels, whole radix, whole width, whole threads) {
  int failed = 0;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    const whole row = radix * width;
    float *sum = calloc(row, sizeof(float));
    double *total = calloc(row, sizeof(double));
    if (!sum || !total) { failed = 1; free(sum); free(total); continue; }
    for (whole p = 0; p < pixels; p++) {
      const float *in = x + (n * pixels + p) * row, *g = dout + (n * pixels + p) * width;
      for (whole r = 0; r < radix; r++) {
        const float *split = in + r * width, *a = scale + r * width, *b = shift + r * width;
        float *s = sum + r * width;
        for (whole c = 0; c < width; c++) {
          const float value = split[c] * a[c] + b[c];
          s[c] += (value < 0 ? 0 : value) * g[c];
        }
      }
      if (p % FLOAT_ROWS == FLOAT_ROWS - 1 || p == pixels - 1) flush(sum, total, row, 1);
    }
    for (whole j = 0; j < row; j++) weight_gradient[n * row + j] = (float)total[j];
    free(sum);
    free(total);
  }
  return failed;
}

/* Compute the gradients of x and of the batch-norm's weight and bias from those of the output and of the pooled maps.
 * `pooled_gradient` (images, width) is already divided by the number of pixels. `sums`: memory for
 * 2 * (images + 1) * radix * width doubles. */
int splits_backward(const float *dout, const float *x, const float *weights, const float *pooled_gradient,
                    const float *mean, const float *rstd, const float *scale, const float *shift, float *dx,
                    float *weight_gradient, float *bias_gradient, double *sums, whole images, whole pixels,
                    whole radix, whole width, whole threads) {
  const whole row = radix * width;
  double *products = sums + (images + 1) * row;
  float *slope = malloc(sizeof(float) * 2 * row), *offset = slope + row;
  int failed = !slope;
  memset(sums, 0, sizeof(double) * 2 * (images + 1) * row);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    float *sum = calloc(2 * row, sizeof(float)), *product = sum + row;
    if (!sum) { failed = 1; continue; }
    for (whole p = 0; p < pixels; p++) {
      const float *in = x + (n * pixels + p) * row, *g = dout + (n * pixels + p) * width;
      for (whole r = 0; r < radix; r++) {
        const float *split = in + r * width, *a = scale + r * width, *b = shift + r * width, *m = mean + r * width;
        const float *v = weights + n * row + r * width, *even = pooled_gradient + n * width;
        float *s = sum + r * width, *q = product + r * width;
        for (whole c = 0; c < width; c++) {
          const float dz = split[c] * a[c] + b[c] > 0 ? g[c] * v[c] + even[c] : 0;
          s[c] += dz;
          q[c] += dz * (split[c] - m[c]);
        }
      }
      if (p % FLOAT_ROWS == FLOAT_ROWS - 1 || p == pixels - 1) {
        flush(sum, sums + (n + 1) * row, row, 1);
        flush(product, products + (n + 1) * row, row, 1);
      }
    }
    free(sum);
  }
  if (failed) { free(slope); return 1; }
  for (whole n = 1; n <= images; n++)
    for (whole j = 0; j < row; j++) {
      sums[j] += sums[n * row + j];
      products[j] += products[n * row + j];
    }
  norm_coefficients(sums, products, mean, rstd, scale, images * pixels, row, slope, offset, weight_gradient,
                    bias_gradient);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole n = 0; n < images; n++) {
    for (whole p = 0; p < pixels; p++) {
      const float *in = x + (n * pixels + p) * row, *g = dout + (n * pixels + p) * width;
      float *out = dx + (n * pixels + p) * row;
      for (whole r = 0; r < radix; r++) {
        const float *split = in + r * width, *a = scale + r * width, *b = shift + r * width;
        const float *k = slope + r * width, *o = offset + r * width;
        const float *v = weights + n * row + r * width, *even = pooled_gradient + n * width;
        float *d = out + r * width;
        for (whole c = 0; c < width; c++) {
          const float dz = split[c] * a[c] + b[c] > 0 ? g[c] * v[c] + even[c] : 0;
          d[c] = a[c] * dz + k[c] * split[c] + o[c];
        }
      }
    }
  }
  free(slope);
  return 0;
}
