/* 1x1 convolutions and their batch-norms, forward and backward.
 *
 * A convolution reads its predecessor's output before batch-norm and applies batch-norm while it reads; it sums the
 * statistics of its own output. So a map is written once and read once forward, and read twice backward. */
#include "product.h"
#include "splits.h"

/* Return whether these convolutions are faster than torch's on this processor. */
int convolutions_are_fast(void) {
#if defined(__AVX2__)
  return 1;
#else
  return 0;
#endif
}

/* Sizes from which `source` computes the input pixel of an output pixel, for a stride above 1. */
typedef struct {
  whole out_height, out_width, in_height, in_width, stride;
} Places;

INLINE whole source(whole row, Places p) {
  if (p.stride == 1) return row;
  const whole image = row / (p.out_height * p.out_width), rest = row % (p.out_height * p.out_width);
  return (image * p.in_height + rest / p.out_width * p.stride) * p.in_width + rest % p.out_width * p.stride;
}

/* Read a tile of the convolution's input: `count` rows of `pitch` floats, and 0 up to TILE rows. */
static void fetch(const float *x, Norm norm, Splits splits, const whole *pixel, whole count, whole width, whole pitch,
                  float *tile) {
  if (splits.weights) fetch_splits(x, norm, splits, pixel, count, width, tile, pitch);
  for (whole c = 0; c < (splits.weights ? 0 : width); c += LANES) {
    const whole part = smaller(LANES, width - c);
    if (norm.scale) {
      const vec scale = load_part(norm.scale + c, part), shift = load_part(norm.shift + c, part);
      for (whole i = 0; i < count; i++) {
        const float *from = x + pixel[i] * width + c;
        store(tile + i * pitch + c, positive(load_part(from, part) * scale + shift));
        if (c % 16 == 0) prefetch(from + TILE * width);
      }
    } else {
      for (whole i = 0; i < count; i++) store(tile + i * pitch + c, load_part(x + pixel[i] * width + c, part));
    }
  }
  memset(tile + count * pitch, 0, sizeof(float) * (TILE - count) * pitch);
}

/* y (rows, width) = the convolution of x; also the rows of the batch-norm after it. Returns 0, or 1 without memory. */
int pointwise_forward(const float *x, const float *x_norm, const float *split_weights, whole split_count, const float *w,
                      whole w_out, whole w_in, float *y, whole rows, whole in_width, whole width, whole out_height,
                      whole out_width, whole in_height, whole in_width_pixels, whole stride, const float *weight,
                      const float *bias, float *running_mean, float *running_var, int64_t *batches, double eps,
                      double momentum, whole training, float *norm_rows, whole threads) {
  const Places places = {out_height, out_width, in_height, in_width_pixels, stride};
  const Norm norm = norm_of(x_norm, split_count * in_width);
  const Splits splits = {split_weights, split_count, in_height * in_width_pixels};
  const whole vecs = parts(width, LANES), pitch = parts(in_width, LANES) * LANES, tiles = parts(rows, TILE);
  float *panels = alloc(parts(width, PAIR) * in_width * PAIR);
  double *sums = calloc(2 * BLOCKS * width, sizeof(double));
  Slice *slice = malloc(sizeof(Slice) * vecs);
  int failed = !panels || !sums || !slice;
  if (!failed) {
    pack(w, w_in, w_out, in_width, width, panels);
    slices(slice, 1, width);
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
    float *in = alloc(TILE * pitch), *out = alloc(TILE * vecs * LANES);
    if (!in || !out) { failed = 1; free(in); free(out); continue; }
    whole place[TILE], pixel[TILE];
    const whole none = 0;
    for (whole i = 0; i < TILE; i++) place[i] = i * pitch;
    const Sums block_sums = {training ? sums + 2 * block * width : NULL, sums + (2 * block + 1) * width};
    for (whole tile = block * tiles / BLOCKS; tile < (block + 1) * tiles / BLOCKS; tile++) {
      const whole row = tile * TILE, count = smaller(TILE, rows - row);
      for (whole i = 0; i < count; i++) pixel[i] = source(row + i, places);
      fetch(x, norm, splits, pixel, count, in_width, pitch, in);
      const Factors factors = {in, place, &none, 1, panels, &none, in_width, 1, in_width, in_width};
      product(&factors, count, vecs, out, vecs * LANES, 0);
      emit(out, vecs * LANES, count, slice, vecs, y + row * width, width, block_sums);
    }
    free(in);
    free(out);
  }
  if (!failed)
    finish(sums, BLOCKS, rows, width,
           (Learned){weight, bias, running_mean, running_var, batches, eps, momentum, training, norm_rows});
  free(panels); free(sums); free(slice);
  return failed;
}

/* Write a tile of gradients, from `row` on, to the map dx, and add its sums with each split's mask to those of the
 * images. */
static void pass_to_splits(const float *tile, whole tile_row, whole row, whole count, const float *x, Norm norm,
                           Splits splits, float *dx, whole width, float *mask_sums) {
  const whole x_row = splits.count * width;
  for (whole c = 0; c < width; c += LANES)
    for (whole i = 0; i < count; i++)
      store_part(dx + (row + i) * width + c, load(tile + i * tile_row + c), smaller(LANES, width - c));
  for (whole i = 0, end; i < count; i = end) {
    const whole image = (row + i) / splits.pixels;
    end = smaller(count, (image + 1) * splits.pixels - row);
    masked_sums(tile + i * tile_row, tile_row, x + (row + i) * x_row, norm, end - i, splits.count, width,
                mask_sums + image * 2 * x_row);
  }
}

/* The end of a block, relu(batch-norm of y + shortcut), and the sums that its backward pass computes. */
typedef struct {
  const float *y, *y_norm, *shortcut, *shortcut_norm;
  double *sums, *shortcut_sums;
} Join;

/* The backward pass of a join for a tile: dz, the gradient before the ReLU, and its sums, which are added to `sums`.
 * `out` is NULL if there was no ReLU. */
INLINE void join_tile(const float *dout, whole dout_row, const float *out, whole out_row, const float *y, Norm own,
                      const float *shortcut, Norm other, float *dz, whole count, whole width, double *sums) {
  for (whole c = 0; c < width; c += LANES) {
    const whole part = smaller(LANES, width - c);
    const vec mean = load_part(own.mean + c, part);
    const vec mean_other = other.mean ? load_part(other.mean + c, part) : (vec){};
    vec sum[2] = {}, moment[2] = {}, moment_other[2] = {};
    FOUR_AT_A_TIME(i, u, count, {
      const whole at = i * width + c;
      vec value = load_part(dout + i * dout_row + c, part);
      if (out) value = where_positive(load_part(out + i * out_row + c, part), value);
      store_part(dz + at, value, part);
      sum[u % 2] += value;
      moment[u % 2] += value * (load_part(y + at, part) - mean);
      if (other.mean) moment_other[u % 2] += value * (load_part(shortcut + at, part) - mean_other);
    });
    for (whole l = 0; l < part; l++) {
      sums[c + l] += sum[0][l] + sum[1][l];
      sums[width + c + l] += moment[0][l] + moment[1][l];
      sums[2 * width + c + l] += moment_other[0][l] + moment_other[1][l];
    }
  }
}

/* Add the blocks' sums of a join, and write them for its batch-norm, and for that of its shortcut if it has one. */
static void join_sums(double *all_sums, whole width, double *sums, double *shortcut_sums) {
  add_up(all_sums, BLOCKS, 3 * width);
  memcpy(sums, all_sums, sizeof(double) * 2 * width);
  if (shortcut_sums) {
    memcpy(shortcut_sums, all_sums, sizeof(double) * width);
    memcpy(shortcut_sums + width, all_sums + 2 * width, sizeof(double) * width);
  }
}

/* Add rows of a map to a tile. */
static void add_rows(float *tile, whole tile_row, const float *map, whole count, whole width) {
  for (whole i = 0; i < count; i++)
    for (whole c = 0; c < width; c += LANES) {
      float *to = tile + i * tile_row + c;
      store(to, load(to) + load_part(map + i * width + c, smaller(LANES, width - c)));
    }
}

/* Compute the gradients of x, of the convolution's weights and of the batch-norm's from dz, that of its output.
 *
 * `sums` are those of dz and of dz * (y - mean). If x has its own batch-norm, dx is the gradient of that one's output,
 * and `x_sums` are its sums; otherwise dx is the gradient of x, plus `added`, or plus its old value if `keeps`. If x
 * has splits, dx is the gradient of their weighted sum, and `mask_sums` (images, 2, channels of x) are its sums with
 * each split's mask (see `masked_sums`); the stride is 1. If x is the output of a join, dx is the gradient before the
 * ReLU of that one, and its sums are written, too; the stride is 1. */
int pointwise_backward(const float *dz, const float *y, const float *y_norm, const double *sums, float *weight_gradient,
                       float *bias_gradient, const float *x, const float *x_norm, const float *split_weights,
                       whole split_count, const float *w, whole w_out, whole w_in, float *dw, float *dx,
                       const float *added, whole keeps, double *x_sums, float *mask_sums, const Join *join, whole rows,
                       whole in_width, whole width, whole out_height, whole out_width, whole in_height,
                       whole in_width_pixels, whole stride, whole threads) {
  const Places places = {out_height, out_width, in_height, in_width_pixels, stride};
  const Norm norm = norm_of(x_norm, split_count * in_width), own = norm_of(y_norm, width);
  const Splits splits = {split_weights, split_count, in_height * in_width_pixels};
  const whole vecs = parts(width, LANES), in_vecs = parts(in_width, LANES), pitch = in_vecs * LANES;
  const whole panels_out = parts(width, PAIR), padded = parts(in_width, ROWS) * ROWS;
  /* Blocks consist of whole images if there are sums for each image. */
  const whole unit = mask_sums ? splits.pixels : TILE, units = parts(rows, unit);
  const whole of_weight = padded * vecs * LANES;
  float *panels = alloc(parts(in_width, PAIR) * width * PAIR), *slopes = alloc(2 * width);
  float *weights = alloc(BLOCKS * of_weight);
  double *of_x = calloc(2 * BLOCKS * in_width, sizeof(double));
  double *of_join = calloc(join ? 3 * BLOCKS * in_width : 1, sizeof(double));
  const Norm join_norm = norm_of(join ? join->y_norm : NULL, in_width);
  const Norm shortcut_norm = norm_of(join ? join->shortcut_norm : NULL, in_width);
  Slice *slice = malloc(sizeof(Slice) * in_vecs);
  whole *at = malloc(sizeof(whole) * 3 * (padded + panels_out));
  int failed = !panels || !slopes || !weights || !of_x || !of_join || !slice || !at;
  whole *channel = at, *panel_at = at + padded, *panel_row = panel_at + panels_out;
  if (!failed) {
    memset(weights, 0, sizeof(float) * BLOCKS * of_weight);
    if (mask_sums) memset(mask_sums, 0, sizeof(float) * units * 2 * split_count * in_width);
    if (dx) pack(w, w_out, w_in, width, in_width, panels);
    slices(slice, 1, in_width);
    norm_coefficients(sums, sums + width, own.mean, own.rstd, own.scale, rows, width, slopes, slopes + width,
                      weight_gradient, bias_gradient);
    for (whole c = 0; c < padded; c++) channel[c] = smaller(c, in_width - 1);
    for (whole p = 0; p < panels_out; p++) panel_at[p] = p * TILE * PAIR, panel_row[p] = p * PAIR;
  }
  const Slopes through = {own.scale, slopes, slopes + width};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
    float *in = alloc(TILE * pitch), *dy = alloc(panels_out * TILE * PAIR), *din = alloc(TILE * pitch);
    if (!in || !dy || !din) { failed = 1; free(in); free(dy); free(din); continue; }
    memset(dy, 0, sizeof(float) * panels_out * TILE * PAIR);
    whole place[TILE], pixel[TILE];
    const whole none = 0;
    for (whole i = 0; i < TILE; i++) place[i] = i * PAIR;
    const Sums block_sums = {of_x + 2 * block * in_width, of_x + (2 * block + 1) * in_width};
    const whole end = smaller(rows, (block + 1) * units / BLOCKS * unit);
    for (whole row = block * units / BLOCKS * unit; row < end; row += TILE) {
      const whole count = smaller(TILE, end - row);
      for (whole i = 0; i < count; i++) pixel[i] = source(row + i, places);
      fetch(x, norm, splits, pixel, count, in_width, pitch, in);
      for (whole v = 0; v < vecs; v++) {
        const whole c = v * LANES, part = smaller(LANES, width - c);
        float *to = dy + v / 2 * TILE * PAIR + v % 2 * LANES;
        const Gradient of = gradient_of(through, c, part);
        const float *dz_here = dz + row * width + c, *y_here = y + row * width + c;
        for (whole i = 0; i < count; i++, dz_here += width, y_here += width) {
          store(to + i * PAIR, gradient(of, load_part(dz_here, part), load_part(y_here, part)));
          if (v % LINE_VECS == 0) prefetch(dz_here + TILE * width), prefetch(y_here + TILE * width);
        }
      }
      const Factors to_weight = {in, channel, &none, pitch, dy, &none, TILE, 1, count, count};
      product(&to_weight, in_width, vecs, weights + block * of_weight, vecs * LANES, 1);
      if (!dx) continue;
      const Factors to_input = {dy,    place,      panel_at, 1, panels, panel_row,
                                width, panels_out, PAIR,     width - (panels_out - 1) * PAIR};
      product(&to_input, count, in_vecs, din, pitch, 0);
      if (mask_sums) {
        pass_to_splits(din, pitch, row, count, x, norm, splits, dx, in_width, mask_sums);
      } else if (join) {
        const whole from = row * in_width;
        if (added) add_rows(din, pitch, added + from, count, in_width);
        if (keeps) add_rows(din, pitch, dx + from, count, in_width);
        join_tile(din, pitch, in, pitch, join->y + from, join_norm, join->shortcut + from, shortcut_norm, dx + from,
                  count, in_width, of_join + 3 * block * in_width);
      } else pass_on(din, pitch, count, pixel, slice, in_vecs, x, norm, added, keeps != 0, dx, in_width, block_sums);
    }
    free(in); free(dy); free(din);
  }
  if (!failed) {
    for (whole k = 0; k < in_width; k++)
      for (whole n = 0; n < width; n++) {
        float total = 0;
        for (whole b = 0; b < BLOCKS; b++) total += weights[b * of_weight + k * vecs * LANES + n];
        dw[n * w_out + k * w_in] = total;
      }
    if (x_sums) {
      add_up(of_x, BLOCKS, 2 * in_width);
      memcpy(x_sums, of_x, sizeof(double) * 2 * in_width);
    }
    if (join) join_sums(of_join, in_width, join->sums, join->shortcut_sums);
  }
  free(panels); free(slopes); free(weights); free(of_x); free(of_join); free(slice); free(at);
  return failed;
}

/* out = relu(batch-norm of y + shortcut); the shortcut may be NULL, or have its own batch-norm. */
int join_forward(const float *y, const float *y_norm, const float *shortcut, const float *shortcut_norm, whole relu,
                 float *out, whole rows, whole width, whole threads) {
  const Norm own = norm_of(y_norm, width), other = norm_of(shortcut_norm, width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < BLOCKS; block++) {
    const whole end = (block + 1) * rows / BLOCKS;
    for (whole row = block * rows / BLOCKS; row < end; row += TILE)
      for (whole c = 0; c < width; c += LANES) {
        const whole count = smaller(LANES, width - c), last = smaller(row + TILE, end);
        const vec scale = load_part(own.scale + c, count), shift = load_part(own.shift + c, count);
        const vec factor = other.scale ? load_part(other.scale + c, count) : all(1);
        const vec constant = other.scale ? load_part(other.shift + c, count) : (vec){};
        for (whole at = row * width + c; at < last * width; at += width) {
          vec value = load_part(y + at, count) * scale + shift;
          if (shortcut) value += load_part(shortcut + at, count) * factor + constant;
          store_part(out + at, relu ? positive(value) : value, count);
        }
      }
  }
  return 0;
}

/* The backward pass of join_forward: dz, the gradient before the ReLU, and its sums for the batch-norms. `out` is NULL
 * if there was no ReLU. */
int join_backward(const float *dout, const float *out, const float *y, const float *y_norm, const float *shortcut,
                  const float *shortcut_norm, float *dz, double *sums, double *shortcut_sums, whole rows, whole width,
                  whole threads) {
  const Norm own = norm_of(y_norm, width), other = norm_of(shortcut_norm, width);
  const whole tiles = parts(rows, TILE); /* as in `pointwise_backward`, so that the sums are the same */
  double *all_sums = calloc(3 * BLOCKS * width, sizeof(double));
  if (!all_sums) return 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < BLOCKS; block++)
    for (whole tile = block * tiles / BLOCKS; tile < (block + 1) * tiles / BLOCKS; tile++) {
      const whole row = tile * TILE, from = row * width;
      join_tile(dout + from, width, out ? out + from : NULL, width, y + from, own, shortcut ? shortcut + from : NULL,
                other, dz + from, smaller(TILE, rows - row), width, all_sums + 3 * block * width);
    }
  join_sums(all_sums, width, sums, shortcut_sums);
  free(all_sums);
  return 0;
}
