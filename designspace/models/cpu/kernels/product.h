/* The product of two small matrices, from which all convolutions here are built.
 *
 *   C(i, j) = sum over taps t and steps k of A(i, t, k) B(t, k, j)        A(i, t, k) = a[place[i] + a_at[t] + k * step]
 *
 * B is stored in panels of PAIR columns: the rows of panel p are contiguous from b + p * b_rows * PAIR, and tap t
 * starts at row b_at[t]. Taps have `depth` steps, the last one `last`. C has rows of c_row floats and is padded to
 * whole vectors and to ROWS rows; `place` is padded to ROWS entries.
 */
#ifndef DESIGNSPACE_PRODUCT_H
#define DESIGNSPACE_PRODUCT_H

#include "common.h"

#define ROWS 8

typedef struct {
  const float *a;
  const whole *place, *a_at;
  whole step;
  const float *b;
  const whole *b_at;
  whole b_rows, taps, depth, last;
} Factors;

INLINE void product_block(const Factors *f, whole i, whole v, float *c, whole c_row, int add, const int rows,
                          const int vecs) {
  vec sum[ROWS][2];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int u = 0; u < vecs; u++) sum[r][u] = add ? load(c + r * c_row + u * LANES) : (vec){};
  const float *panel = f->b + v / 2 * f->b_rows * PAIR;
  for (whole t = 0; t < f->taps; t++) {
    const float *a[ROWS], *b = panel + f->b_at[t] * PAIR;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) a[r] = f->a + f->place[i + r] + f->a_at[t];
    const whole depth = t == f->taps - 1 ? f->last : f->depth;
    for (whole k = 0, at = 0; k < depth; k++, at += f->step, b += PAIR) {
      const vec b0 = load(b), b1 = vecs == 2 ? load(b + LANES) : b0;
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++) {
        const vec value = all(a[r][at]);
        sum[r][0] += value * b0;
        if (vecs == 2) sum[r][1] += value * b1;
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int u = 0; u < vecs; u++) store(c + r * c_row + u * LANES, sum[r][u]);
}

/* Compute C of `rows` rows and `vecs` vectors, or add the product to it. */
static void product(const Factors *f, whole rows, whole vecs, float *c, whole c_row, int add) {
  for (whole v = 0; v < vecs; v += 2) {
    const int pair = vecs - v >= 2;
    whole i = 0;
    for (; rows - i > ROWS / 2; i += ROWS) {
      if (pair) product_block(f, i, v, c + i * c_row + v * LANES, c_row, add, ROWS, 2);
      else product_block(f, i, v, c + i * c_row + v * LANES, c_row, add, ROWS, 1);
    }
    if (i < rows) {
      if (pair) product_block(f, i, v, c + i * c_row + v * LANES, c_row, add, ROWS / 2, 2);
      else product_block(f, i, v, c + i * c_row + v * LANES, c_row, add, ROWS / 2, 1);
    }
  }
}

#endif
