/* 3x3 convolutions, grouped or not, and their batch-norms, forward and backward: one image at a time. */
#include "splits.h"
#include "windows.h"

/* Add an image's part of the weights' gradient, [tap][j][row]: sums over pixels of input * output's gradient. */
INLINE void narrow_weight_rows(const float *in, const whole *place, const whole *at, const float *dy,
                               const whole *dy_place, whole count, float *dw, whole row, const int group,
                               const int taps) {
  for (whole c = 0; c < row; c += LANES)
    for (int first = 0; first < TAPS; first += taps) {
      vec sum[TAPS][8];
      float *to = dw + (whole)first * group * row + c;
#pragma GCC unroll 9
      for (int t = 0; t < taps; t++)
#pragma GCC unroll 8
        for (int j = 0; j < group; j++) sum[t][j] = load(to + (t * group + j) * row);
      for (whole i = 0; i < count; i++) {
        const vec g = load(dy + dy_place[i] + c);
#pragma GCC unroll 9
        for (int t = 0; t < taps; t++) {
          const float *from = in + place[i] + at[first + t] + c;
          const vec value = load(from);
#pragma GCC unroll 8
          for (int j = 0; j < group; j++) sum[t][j] += (group < LANES ? spread(value, group, j) : all(from[j])) * g;
        }
      }
#pragma GCC unroll 9
      for (int t = 0; t < taps; t++)
#pragma GCC unroll 8
        for (int j = 0; j < group; j++) store(to + (t * group + j) * row, sum[t][j]);
    }
}

static void narrow_weights(const float *in, const whole *place, const whole *at, const float *dy, const whole *dy_place,
                           whole count, float *dw, whole row, whole group) {
  switch (group) {
    case 1: narrow_weight_rows(in, place, at, dy, dy_place, count, dw, row, 1, 9); break;
    case 2: narrow_weight_rows(in, place, at, dy, dy_place, count, dw, row, 2, 3); break;
    case 4: narrow_weight_rows(in, place, at, dy, dy_place, count, dw, row, 4, 3); break;
    default: narrow_weight_rows(in, place, at, dy, dy_place, count, dw, row, 8, LANES > 8 ? 3 : 1);
  }
}

/* y (images, height, width, channels) = the convolution of x; also the rows of the batch-norm after it. */
int spatial_forward(const float *x, const float *x_norm, const float *w, whole w_out, whole w_in, whole w_tap, float *y,
                    whole images, whole in_height, whole in_width, whole in_channels, whole channels, whole groups,
                    whole stride, const float *weight, const float *bias, float *running_mean, float *running_var,
                    int64_t *batches, double eps, double momentum, whole training, float *norm_rows, whole threads) {
  const Shape s = shape_of(0, images, in_height, in_width, in_channels, channels, groups, stride);
  const Norm norm = norm_of(x_norm, in_channels);
  Convolution conv;
  double *sums = calloc(2 * BLOCKS * channels, sizeof(double));
  Slice *slice = malloc(sizeof(Slice) * s.vecs);
  int failed = prepare(&conv, s, w, (Strides){w_out, w_in, w_tap}) || !sums || !slice;
  if (!failed) slices(slice, s.narrow ? 1 : groups, s.narrow ? channels : s.group_out);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
    float *in = alloc(bordered(&s)), *out = alloc((s.pixels + ROWS) * s.row);
    if (!in || !out) { failed = 1; free(in); free(out); continue; }
    memset(in, 0, sizeof(float) * bordered(&s));
    const Sums block_sums = {training ? sums + 2 * block * channels : NULL, sums + (2 * block + 1) * channels};
    for (whole n = block * images / BLOCKS; n < (block + 1) * images / BLOCKS; n++) {
      fill(&s, x + n * s.in_pixels * in_channels, norm, in);
      convolve(&conv, in, out);
      emit(out, s.row, s.pixels, slice, s.vecs, y + n * s.pixels * channels, channels, block_sums);
    }
    free(in);
    free(out);
  }
  if (!failed)
    finish(sums, BLOCKS, images * s.pixels, channels,
           (Learned){weight, bias, running_mean, running_var, batches, eps, momentum, training, norm_rows});
  release(&conv); free(sums); free(slice);
  return failed;
}

/* A class of input pixels whose windows of the output's gradient have the same taps: there is one class for a stride of
 * 1, and four for 2 (even and odd rows and columns). */
typedef struct {
  whole count, taps, columns;
  whole *pixel, *place;              /* of the input; in the output's gradient with border */
  whole at[TAPS * 8], tap[TAPS * 8]; /* offset of a tap's gradient from the place; index of the tap; for each plane */
} Class;

/* The taps with which outputs read an input of this row or column, and the output's offset. */
static whole taps_of(whole parity, whole stride, whole *tap, whole *behind) {
  if (stride == 1) {
    for (whole k = 0; k < 3; k++) tap[k] = k, behind[k] = 2 - k;
    return 3;
  }
  if (parity == 0) { tap[0] = 1, behind[0] = 1; return 1; }
  tap[0] = 0, behind[0] = 2;
  tap[1] = 2, behind[1] = 1;
  return 2;
}

/* Build the classes, in tables of (in_pixels + 4 * ROWS) entries each, and return their number. Strides are 1 or 2. */
static whole classes(const Shape *s, Class *made, whole *pixel, whole *place) {
  whole number = 0;
  const whole border = s->width + 2;
  for (whole a = 0; a < s->stride; a++)
    for (whole b = 0; b < s->stride; b++) {
      Class *class = made + number++;
      class->count = class->taps = 0;
      class->pixel = pixel, class->place = place;
      for (whole y = a; y < s->in_height; y += s->stride)
        for (whole x = b; x < s->in_width; x += s->stride) {
          *pixel++ = y * s->in_width + x;
          *place++ = (y / s->stride * border + x / s->stride) * s->out_pitch;
          class->count++;
        }
      for (whole i = 0; i < ROWS; i++) *pixel++ = 0, *place++ = 0; /* padding, whose results are not used */
      whole row[3], row_behind[3], column[3], column_behind[3];
      const whole rows = taps_of(a, s->stride, row, row_behind), columns = taps_of(b, s->stride, column, column_behind);
      class->columns = columns;
      for (whole u = 0; u < s->planes; u++)
        for (whole i = 0; i < rows; i++)
          for (whole j = 0; j < columns; j++) {
            class->at[class->taps] = (row_behind[i] * border + column_behind[j]) * s->out_pitch + u * s->in_row;
            class->tap[class->taps++] = u * TAPS + row[i] * 3 + column[j];
          }
    }
  return number;
}

/* One vector of channels of an image's outputs: the gradient dz and the map y, each with the floats of its row. */
typedef struct {
  const float *dz;
  whole dz_row;
  const float *y;
  whole row, pixels;
  int first_of_line; /* whether it begins a cache line */
} Outputs;

/* Where gradients of outputs are written to: an image with border, and a panel unless `line` is NULL. */
typedef struct {
  const whole *place;
  float *image, *line;
  whole planes, plane_row;
  const lanes *of_plane; /* lanes of a vector that belong to a plane */
} Targets;

/* Compute the gradients of outputs from those after their batch-norm, or of the sum of splits. */
INLINE void read_gradients(Outputs from, Gradient of, const Split *split, whole count, Targets to) {
  const float *dz = from.dz, *y = from.y;
  for (whole p = 0; p < from.pixels; p++, dz += from.dz_row, y += from.row) {
    const vec raw = load_part(y, count);
    vec value = load_part(dz, count);
    if (split) value = split_gradient(*split, value, raw);
    value = gradient(of, value, raw);
    if (from.first_of_line) prefetch(dz + from.pixels * from.dz_row), prefetch(y + from.pixels * from.row);
    if (to.line) store(to.line + p * PAIR, value);
    if (to.planes == 1) store_part(to.image + to.place[p], value, count);
    for (whole u = 0; u < to.planes && to.planes > 1; u++)
      store_part(to.image + to.place[p] + u * to.plane_row, select_lanes(value, to.of_plane[u]), count / to.planes);
  }
}

/* Compute the gradients of x, of the convolution's weights and of the batch-norm's from dz, that of its output; like
 * pointwise_backward. dx may be NULL. If the output has splits, dz is the gradient of their weighted sum, and `even`
 * (images, channels) what each pixel gets from the gradient of the splits' means. */
int spatial_backward(const float *dz, const float *y, const float *y_norm, const double *sums, const float *split_weights,
                     const float *even, whole split_count, float *weight_gradient, float *bias_gradient, const float *x,
                     const float *x_norm, const float *w, whole w_out, whole w_in, whole w_tap, float *dw, float *dx,
                     double *x_sums, whole images, whole in_height, whole in_width, whole in_channels, whole channels,
                     whole groups, whole stride, whole threads) {
  const Shape s = shape_of(1, images, in_height, in_width, in_channels, channels, groups, stride);
  const Norm norm = norm_of(x_norm, in_channels), own = norm_of(y_norm, channels);
  const whole dy_bordered = (s.height + 2) * (s.width + 2) * s.out_pitch;
  const whole padded = parts(TAPS * s.group_in, ROWS) * ROWS, group_row = s.row / groups;
  const whole of_plane = TAPS * s.group_in * s.in_row; /* floats of the weights' gradients */
  const whole of_weight = s.narrow ? s.planes * of_plane : groups * padded * group_row;
  const whole size = packed_floats(&s, 1) / groups, panels = parts(s.group_out, PAIR);
  const whole padded_groups = s.narrow ? 1 : groups; /* groups that are padded to whole vectors */
  const whole vecs_of_group = s.vecs / padded_groups, dz_width = channels / split_count;
  float *packed = alloc(packed_floats(&s, 1)), *slopes = alloc(2 * channels), *weights = alloc(BLOCKS * of_weight);
  double *of_x = calloc(2 * BLOCKS * in_channels, sizeof(double));
  Slice *slice = malloc(sizeof(Slice) * (s.in_vecs + s.vecs + split_count)), *out_slice = slice + s.in_vecs;
  whole *tables = malloc(sizeof(whole) * (2 * (s.pixels + ROWS) + 2 * (s.in_pixels + 4 * ROWS) + padded + s.height * 2));
  int failed = !packed || !slopes || !weights || !of_x || !slice || !tables;
  whole *place = tables, *dy_place = place + s.pixels + ROWS, *pixel = dy_place + s.pixels + ROWS;
  whole *class_place = pixel + s.in_pixels + 4 * ROWS, *window = class_place + s.in_pixels + 4 * ROWS;
  whole *line_at = window + padded, *line_row = line_at + s.height;
  whole at[TAPS], number = 0, out_vecs = 0;
  lanes of_planes[8];
  Class class[4];
  if (!failed) {
    memset(weights, 0, sizeof(float) * BLOCKS * of_weight);
    pack_weights(&s, w, (Strides){w_out, w_in, w_tap}, 1, packed);
    slices(slice, padded_groups, in_channels / padded_groups);
    const whole out_parts = s.narrow ? split_count : groups; /* no vector has channels of two splits */
    out_vecs = slices(out_slice, out_parts, channels / out_parts);
    windows(&s, place, at);
    for (whole u = 0; u < s.planes; u++) of_planes[u] = lanes_of(s.group_in, s.group_out, u * s.group_in);
    number = classes(&s, class, pixel, class_place);
    norm_coefficients(sums, sums + channels, own.mean, own.rstd, own.scale, images * s.pixels, channels, slopes,
                      slopes + channels, weight_gradient, bias_gradient);
    for (whole p = 0; p < s.pixels; p++)
      dy_place[p] = ((p / s.width + 1) * (s.width + 2) + p % s.width + 1) * s.out_pitch;
    for (whole c = 0; c < padded; c++) {
      const whole kept = smaller(c, TAPS * s.group_in - 1);
      window[c] = at[kept / s.group_in] + kept % s.group_in;
    }
    for (whole row = 0; row < s.height; row++) line_at[row] = place[row * s.width], line_row[row] = row * s.width;
    if (!s.narrow)
      for (whole i = 0; i < number; i++)
        for (whole t = 0; t < class[i].taps; t++) class[i].tap[t] *= s.group_out;
  }
  const Slopes through = {own.scale, slopes, slopes + channels};
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
    float *in = alloc(bordered(&s)), *dy = alloc(dy_bordered), *din = alloc((s.in_pixels + ROWS) * s.in_row);
    float *lines = alloc(s.narrow ? 0 : groups * panels * s.pixels * PAIR); /* dy again, as panels for each group */
    if (!in || !dy || !din || !lines) { failed = 1; free(in); free(dy); free(din); free(lines); continue; }
    memset(in, 0, sizeof(float) * bordered(&s));
    memset(dy, 0, sizeof(float) * dy_bordered);
    const Sums block_sums = {of_x + 2 * block * in_channels, of_x + (2 * block + 1) * in_channels};
    float *dw_here = weights + block * of_weight;
    for (whole n = block * images / BLOCKS; n < (block + 1) * images / BLOCKS; n++) {
      fill(&s, x + n * s.in_pixels * in_channels, norm, in);
      for (whole v = 0; v < out_vecs; v++) {
        const Slice k = out_slice[v];
        const whole in_group = v % vecs_of_group, panel = v / vecs_of_group * panels + in_group / 2;
        const Outputs from = {dz + n * s.pixels * dz_width + k.from % dz_width, dz_width,
                              y + n * s.pixels * channels + k.from, channels, s.pixels, v % LINE_VECS == 0};
        const Gradient of = gradient_of(through, k.from, k.count);
        float *line = s.narrow ? NULL : lines + panel * s.pixels * PAIR + in_group % 2 * LANES;
        const Targets to = {dy_place, dy + k.from / s.planes, line, s.planes, s.in_row, of_planes};
        if (split_weights) {
          const Split split = split_of(own, split_weights + n * channels, even + n * channels, k.from, k.count);
          read_gradients(from, of, &split, k.count, to);
        } else {
          read_gradients(from, of, NULL, k.count, to);
        }
      }
      for (whole u = 0; u < (s.narrow ? s.planes : 0); u++)
        narrow_weights(in, place, at, dy + u * s.in_row, dy_place, s.pixels, dw_here + u * of_plane, s.in_row, s.group_in);
      for (whole g = 0; g < (s.narrow ? 0 : groups); g++) {
        const Factors factors = {in + g * s.group_in, window, line_at, stride * s.in_pitch,
                                 lines + g * panels * s.pixels * PAIR, line_row, s.pixels, s.height, s.width, s.width};
        product(&factors, TAPS * s.group_in, group_row / LANES, dw_here + g * padded * group_row, group_row, 1);
      }
      for (whole i = 0; i < (dx ? number : 0); i++) {
        const Class *k = class + i;
        if (s.narrow) {
          const Window window = {k->at, k->tap, k->taps, k->columns};
          narrow(dy, k->place, window, packed, s.in_row, k->count, din, s.in_row, s.group_in);
        }
        for (whole g = 0; g < (s.narrow ? 0 : groups); g++) {
          const Factors factors = {dy + g * s.group_out, k->place, k->at, 1, packed + g * size, k->tap,
                                   TAPS * s.group_out, k->taps, s.group_out, s.group_out};
          product(&factors, k->count, s.in_vecs / groups, din + g * (s.in_row / groups), s.in_row, 0);
        }
        pass_on(din, s.in_row, k->count, k->pixel, slice, s.in_vecs, x + n * s.in_pixels * in_channels, norm, NULL, 0,
                dx + n * s.in_pixels * in_channels, in_channels, block_sums);
      }
    }
    free(in); free(dy); free(din); free(lines);
  }
  if (!failed) {
    for (whole g = 0; g < groups; g++)
      for (whole t = 0; t < TAPS; t++)
        for (whole k = 0; k < s.group_in; k++)
          for (whole c = 0; c < s.group_out; c++) {
            const whole from = s.narrow ? c / s.group_in * of_plane + (t * s.group_in + k) * s.in_row +
                                              g * s.group_in + c % s.group_in
                                        : (g * padded + t * s.group_in + k) * group_row + c;
            float total = 0;
            for (whole b = 0; b < BLOCKS; b++) total += weights[b * of_weight + from];
            dw[(g * s.group_out + c) * w_out + k * w_in + t * w_tap] = total;
          }
    if (x_sums) {
      add_up(of_x, BLOCKS, 2 * in_channels);
      memcpy(x_sums, of_x, sizeof(double) * 2 * in_channels);
    }
  }
  free(packed); free(slopes); free(weights); free(of_x); free(slice); free(tables);
  return failed;
}
