/* Parts of 3x3 convolutions: shapes, packed weights, images with a border, and convolutions of narrow groups.
 *
 * Groups of 1, 2, 4 or 8 outputs that fit evenly into a vector are "narrow": a vector of outputs is computed from a
 * vector of inputs whose channels are spread over their groups' lanes. All others use matrix products, per group. In
 * split attention a group has fewer inputs than outputs. Then a backward pass keeps the outputs in planes of as many
 * channels as there are inputs: plane u has outputs u * inputs to (u + 1) * inputs - 1 of each group. */
#ifndef DESIGNSPACE_WINDOWS_H
#define DESIGNSPACE_WINDOWS_H

#include "product.h"
#include "tiles.h"

#define TAPS 9
#if defined(__AVX512F__)
#define NARROW_ROWS 8 /* pixels that one inner loop computes for one vector of channels */
#else
#define NARROW_ROWS 6
#endif

/* The shapes of a convolution, and the layout of its pixels in images with a border of one pixel. */
typedef struct {
  whole images, in_height, in_width, in_channels, channels, groups, stride;
  whole height, width, pixels, in_pixels; /* of the output; of the input */
  whole group_in, group_out;
  int narrow;
  whole planes;                /* of a backward pass */
  whole in_pitch, out_pitch;   /* floats of a pixel in an image with border */
  whole in_vecs, vecs;         /* of a tile's row */
  whole in_row, row;           /* floats of a tile's row */
} Shape;

/* The shape for a forward or a backward pass. */
static Shape shape_of(int backward, whole images, whole in_height, whole in_width, whole in_channels, whole channels,
                      whole groups, whole stride) {
  Shape s = {0};
  s.images = images, s.in_height = in_height, s.in_width = in_width, s.in_channels = in_channels;
  s.channels = channels, s.groups = groups, s.stride = stride;
  s.height = (in_height - 1) / stride + 1;
  s.width = (in_width - 1) / stride + 1;
  s.pixels = s.height * s.width;
  s.in_pixels = in_height * in_width;
  s.group_in = in_channels / groups;
  s.group_out = channels / groups;
  s.narrow = s.group_out % s.group_in == 0 && s.group_out <= 8 && LANES % s.group_out == 0;
  if (!backward && s.group_in < s.group_out && s.group_out == LANES) s.narrow = 0; /* whole vectors of outputs */
  s.planes = s.narrow ? s.group_out / s.group_in : 1;
  const whole blocks = s.narrow ? 1 : groups;
  s.in_vecs = blocks * parts(in_channels / blocks, LANES);
  s.vecs = blocks * parts(channels / blocks, LANES);
  s.in_row = s.in_vecs * LANES;
  s.row = s.vecs * LANES;
  s.in_pitch = s.narrow ? s.in_row : in_channels;
  s.out_pitch = s.narrow ? s.planes * s.in_row : channels;
  return s;
}

/* Copy channel j of each group to all lanes of the group. */
INLINE vec spread(vec value, const int group, const int j) {
  if (group == 1) return value;
#if defined(__clang__)
  vec out = value;
  for (int l = 0; l < LANES; l++) out[l] = value[l / group * group + j];
  return out;
#else
  lanes from = {};
  for (int l = 0; l < LANES; l++) from[l] = l / group * group + j;
  return __builtin_shuffle(value, from);
#endif
}

/* Taps of a window in rows of `columns`, each with the offset of its input, `at`, and its weights, `w_at`. */
typedef struct {
  const whole *at, *w_at;
  whole taps, columns;
} Window;

/* Outputs of one vector of channels; the layout of weights is [tap][j][row]. */
INLINE void narrow_rows(const float *in, const whole *place, Window k, const float *w, whole w_row, float *out,
                        whole out_row, const int rows, const int group) {
  const whole step = k.columns > 1 ? k.at[1] - k.at[0] : 0;
  const whole w_step = k.columns > 1 ? (k.w_at[1] - k.w_at[0]) * group * w_row : 0;
  vec sum[ROWS] = {};
  for (whole t = 0; t < k.taps; t += k.columns) {
    const float *from[ROWS], *weights = w + k.w_at[t] * group * w_row;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) from[r] = in + place[r] + k.at[t];
    for (whole column = 0, at = 0; column < k.columns; column++, at += step, weights += w_step) {
      vec value[ROWS];
#pragma GCC unroll 8
      for (int r = 0; r < rows && group < LANES; r++) value[r] = load(from[r] + at);
#pragma GCC unroll 8
      for (int j = 0; j < group; j++) {
        const vec weight = load(weights + j * w_row);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
          sum[r] += (group < LANES ? spread(value[r], group, j) : all(from[r][at + j])) * weight;
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) store(out + r * out_row, sum[r]);
}

INLINE void narrow_all(const float *in, const whole *place, Window k, const float *w, whole w_row, whole count,
                       float *out, whole out_row, const int group) {
  for (whole c = 0; c < w_row; c += LANES) {
    whole i = 0;
    for (; count - i > 4; i += NARROW_ROWS)
      narrow_rows(in + c, place + i, k, w + c, w_row, out + i * out_row + c, out_row, NARROW_ROWS, group);
    if (i < count) narrow_rows(in + c, place + i, k, w + c, w_row, out + i * out_row + c, out_row, 4, group);
  }
}

static void narrow(const float *in, const whole *place, Window k, const float *w, whole w_row, whole count, float *out,
                   whole out_row, whole group) {
  switch (group) {
    case 1: narrow_all(in, place, k, w, w_row, count, out, out_row, 1); break;
    case 2: narrow_all(in, place, k, w, w_row, count, out, out_row, 2); break;
    case 4: narrow_all(in, place, k, w, w_row, count, out, out_row, 4); break;
    default: narrow_all(in, place, k, w, w_row, count, out, out_row, 8);
  }
}

/* The lanes of a vector of groups of `width` channels, of which each has `step` in another vector, where group 0 starts
 * at `first`. */
static lanes lanes_of(whole width, whole step, whole first) {
  lanes from = {};
  for (int l = 0; l < LANES; l++) from[l] = (int32_t)((l / width * step + l % width + first) % LANES);
  return from;
}

INLINE vec select_lanes(vec value, lanes from) {
#if defined(__clang__)
  vec out = value;
  for (int l = 0; l < LANES; l++) out[l] = value[from[l]];
  return out;
#else
  return __builtin_shuffle(value, from);
#endif
}

/* Outputs of one vector of channels whose groups have more outputs than inputs, like narrow_rows. */
INLINE void widening_rows(const float *in, const whole *place, Window k, const float *w, const Shape *s, lanes first,
                          float *out, const int rows) {
  vec sum[ROWS] = {};
  for (whole t = 0; t < k.taps; t++) {
    vec value[ROWS];
    const float *weights = w + k.w_at[t] * s->group_in * s->row;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) value[r] = load(in + place[r] + k.at[t]);
    lanes from = first;
    for (whole j = 0; j < s->group_in; j++, from += 1) {
      const vec weight = load(weights + j * s->row);
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++) sum[r] += select_lanes(value[r], from) * weight;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++) store(out + r * s->row, sum[r]);
}

static void widening(const float *in, const whole *place, Window k, const float *w, const Shape *s, float *out) {
  lanes first = {};
  for (int l = 0; l < LANES; l++) first[l] = (int32_t)(l / s->group_out * s->group_in);
  for (whole c = 0; c < s->row; c += LANES) {
    const float *from = in + c / s->planes;
    whole i = 0;
    for (; s->pixels - i > 4; i += NARROW_ROWS)
      widening_rows(from, place + i, k, w + c, s, first, out + i * s->row + c, NARROW_ROWS);
    if (i < s->pixels) widening_rows(from, place + i, k, w + c, s, first, out + i * s->row + c, 4);
  }
}

/* The strides, in floats, of a weight (outputs, inputs of a group, 3, 3). */
typedef struct {
  whole out, in, tap;
} Strides;

/* Number of floats of packed weights: forward, or backward (`turned`, with inputs and outputs exchanged). */
static whole packed_floats(const Shape *s, int turned) {
  if (s->narrow) return TAPS * (turned ? s->group_out * s->in_row : s->group_in * s->row);
  const whole rows = TAPS * (turned ? s->group_out : s->group_in), columns = turned ? s->group_in : s->group_out;
  return s->groups * parts(columns, PAIR) * PAIR * rows;
}

static void pack_weights(const Shape *s, const float *w, Strides at, int turned, float *packed) {
  memset(packed, 0, sizeof(float) * packed_floats(s, turned));
  const whole size = packed_floats(s, turned) / s->groups;
  const whole depth = turned ? s->group_out : s->group_in, columns = turned ? s->group_in : s->group_out;
  for (whole g = 0; g < s->groups; g++)
    for (whole t = 0; t < TAPS; t++)
      for (whole k = 0; k < depth; k++)
        for (whole c = 0; c < columns; c++) {
          const whole n = turned ? k : c, i = turned ? c : k;
          const float value = w[(g * s->group_out + n) * at.out + i * at.in + t * at.tap];
          if (s->narrow && turned)
            packed[((k / columns * TAPS + t) * columns + k % columns) * s->in_row + g * columns + c] = value;
          else if (s->narrow) packed[(t * depth + k) * s->row + g * columns + c] = value;
          else packed[g * size + (c / PAIR * TAPS * depth + t * depth + k) * PAIR + c % PAIR] = value;
        }
}

/* Write the activated input into the inside of an image with border. */
static void fill(const Shape *s, const float *x, Norm norm, float *in) {
  for (whole c = 0; c < s->in_channels; c += LANES) {
    const whole part = smaller(LANES, s->in_channels - c);
    const vec scale = norm.scale ? load_part(norm.scale + c, part) : all(1);
    const vec shift = norm.scale ? load_part(norm.shift + c, part) : (vec){};
    for (whole row = 0; row < s->in_height; row++) {
      const float *from = x + row * s->in_width * s->in_channels + c;
      float *to = in + ((row + 1) * (s->in_width + 2) + 1) * s->in_pitch + c;
      for (whole column = 0; column < s->in_width; column++, from += s->in_channels, to += s->in_pitch) {
        const vec value = load_part(from, part);
        if (c % 16 == 0) prefetch(from + s->in_pixels * s->in_channels);
        store_part(to, norm.scale ? positive(value * scale + shift) : value, part);
      }
    }
  }
}

/* Offsets of each output pixel's window in the image with border, and of its taps from there. */
static void windows(const Shape *s, whole *place, whole *at) {
  for (whole p = 0; p < s->pixels + ROWS; p++) {
    const whole pixel = smaller(p, s->pixels - 1);
    place[p] = (pixel / s->width * (s->in_width + 2) + pixel % s->width) * s->stride * s->in_pitch;
  }
  for (whole t = 0; t < TAPS; t++) at[t] = (t / 3 * (s->in_width + 2) + t % 3) * s->in_pitch;
}

/* A forward convolution of one shape with packed weights. */
typedef struct {
  Shape shape;
  float *packed;
  whole *place, at[TAPS], rows_at[TAPS];
  whole run; /* taps that are processed as one: the three of a row without groups, whose inputs are contiguous */
} Convolution;

/* Prepare a convolution. Returns 0, or 1 without memory. */
static int prepare(Convolution *conv, Shape s, const float *w, Strides strides) {
  conv->shape = s;
  conv->run = s.groups == 1 && !s.narrow ? 3 : 1;
  conv->packed = alloc(packed_floats(&s, 0));
  conv->place = malloc(sizeof(whole) * (s.pixels + ROWS));
  if (!conv->packed || !conv->place) return 1;
  pack_weights(&s, w, strides, 0, conv->packed);
  windows(&s, conv->place, conv->at);
  for (whole t = 0; t < TAPS; t += conv->run) {
    conv->at[t / conv->run] = conv->at[t];
    conv->rows_at[t / conv->run] = s.narrow ? t : t * s.group_in;
  }
  return 0;
}

static void release(Convolution *conv) { free(conv->packed), free(conv->place); }

/* Number of floats of an image with border. */
static whole bordered(const Shape *s) { return (s->in_height + 2) * (s->in_width + 2) * s->in_pitch; }

/* Convolve an image with border: `out` has `pixels` rows of `row` floats, padded to ROWS rows. */
static void convolve(const Convolution *conv, const float *in, float *out) {
  const Shape *s = &conv->shape;
  if (s->narrow) {
    const Window window = {conv->at, conv->rows_at, TAPS, 3};
    if (s->planes == 1) narrow(in, conv->place, window, conv->packed, s->row, s->pixels, out, s->row, s->group_in);
    else widening(in, conv->place, window, conv->packed, s, out);
    return;
  }
  const whole depth = conv->run * s->group_in, size = packed_floats(s, 0) / s->groups;
  for (whole g = 0; g < s->groups; g++) {
    const Factors factors = {in + g * s->group_in, conv->place, conv->at, 1, conv->packed + g * size, conv->rows_at,
                             TAPS * s->group_in, TAPS / conv->run, depth, depth};
    product(&factors, s->pixels, s->vecs / s->groups, out + g * (s->row / s->groups), s->row, 0);
  }
}

#endif
