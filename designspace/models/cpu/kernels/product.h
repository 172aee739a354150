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

#define ROWS 8 /* of C that one inner loop computes for one vector of columns */
#if defined(__AVX512F__)
#define PAIR_ROWS 8 /* the same for two vectors: the sums and what they are computed from must fit into registers */
#else
#define PAIR_ROWS 6
#endif

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
      vec b0 = load(b), b1 = vecs == 2 ? load(b + LANES) : b0;
#if defined(__AVX2__)
      __asm__("" : "+v"(b0), "+v"(b1)); /* stay in registers, instead of being loaded for each row */
#endif
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
    float *to = c + v * LANES;
    whole i = 0;
    if (vecs - v >= 2) {
      for (; rows - i > 4; i += PAIR_ROWS) product_block(f, i, v, to + i * c_row, c_row, add, PAIR_ROWS, 2);
      if (rows - i > 2) product_block(f, i, v, to + i * c_row, c_row, add, 4, 2);
      else if (i < rows) product_block(f, i, v, to + i * c_row, c_row, add, 2, 2);
    } else {
      for (; rows - i > 4; i += ROWS) product_block(f, i, v, to + i * c_row, c_row, add, ROWS, 1);
      if (i < rows) product_block(f, i, v, to + i * c_row, c_row, add, 4, 1);
    }
  }
}

/* Pack weights (outputs, inputs) into panels for `product`: `rows` rows of `columns`. */
static void pack(const float *w, whole row_step, whole column_step, whole rows, whole columns, float *panels) {
  memset(panels, 0, sizeof(float) * parts(columns, PAIR) * rows * PAIR);
  for (whole c = 0; c < columns; c++)
    for (whole r = 0; r < rows; r++)
      panels[(c / PAIR * rows + r) * PAIR + c % PAIR] = w[r * row_step + c * column_step];
}

#endif
