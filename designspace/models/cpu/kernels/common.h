/* Shared by the kernels: vectors, parts of a map, and batch-norm's arithmetic.
 *
 * All maps are float32 and channels last: rows (pixels) of `width` channels. Sums do not depend on the number of
 * threads: work is divided into BLOCKS by its size alone, each block is summed in order, and blocks are added in order.
 */
#ifndef DESIGNSPACE_COMMON_H
#define DESIGNSPACE_COMMON_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif
#define PAIR (2 * LANES) /* channels of a panel */
#define INLINE static inline __attribute__((always_inline))

typedef int64_t whole;
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t lanes __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* at any address */

INLINE whole smaller(whole a, whole b) { return a < b ? a : b; }
INLINE whole parts(whole count, whole size) { return (count + size - 1) / size; }
INLINE vec load(const float *from) { return *(const loose *)from; }
INLINE void store(float *to, vec value) { *(loose *)to = value; }
INLINE vec all(float value) { return value - (vec){}; }

/* Load the first `count` lanes, 1 or more; the others are 0, and memory beyond is not accessed. */
INLINE vec load_part(const float *from, whole count) {
#if defined(__AVX512F__)
  return (vec)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (LANES - smaller(count, LANES))), from);
#elif defined(__AVX2__)
  static const int32_t mask[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return (vec)_mm256_maskload_ps(from, _mm256_loadu_si256((const void *)(mask + LANES - smaller(count, LANES))));
#else
  if (count >= LANES) return load(from);
  vec value = {};
  for (whole i = 0; i < count; i++) value[i] = from[i];
  return value;
#endif
}

INLINE void store_part(float *to, vec value, whole count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)(0xffffu >> (LANES - smaller(count, LANES))), (__m512)value);
#elif defined(__AVX2__)
  if (count >= LANES) { store(to, value); return; }
  __m128 rest = _mm256_castps256_ps128((__m256)value); /* a store with a mask would take ten times as long on AMD */
  if (count & 4) {
    _mm_storeu_ps(to, rest);
    rest = _mm256_extractf128_ps((__m256)value, 1), to += 4;
  }
  if (count & 2) {
    _mm_storel_pi((__m64 *)to, rest);
    rest = _mm_movehl_ps(rest, rest), to += 2;
  }
  if (count & 1) _mm_store_ss(to, rest);
#else
  if (count >= LANES) { store(to, value); return; }
  for (whole i = 0; i < count; i++) to[i] = value[i];
#endif
}

INLINE vec positive(vec value) { /* NaN stays NaN */
#if defined(__AVX512F__)
  return (vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)value);
#elif defined(__AVX2__)
  return (vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)value);
#else
  return (vec)((lanes)value & ~(value < 0));
#endif
}
INLINE vec where_positive(vec condition, vec value) { return (vec)((lanes)value & (condition > 0)); }

/* A batch-norm: y = x * scale + shift. Each pointer refers to `width` floats. */
typedef struct {
  const float *mean, *rstd, *scale, *shift;
} Norm;

/* The batch-norm whose four rows are contiguous in memory; all NULL for no batch-norm. */
INLINE Norm norm_of(const float *rows, whole width) {
  if (!rows) return (Norm){NULL, NULL, NULL, NULL};
  return (Norm){rows, rows + width, rows + 2 * width, rows + 3 * width};
}

/* Coefficients that map gradients of a batch-norm's output to those of its input:
 * dx = scale * dz - scale * (sum of dz) / rows - scale * rstd^2 * (sum of dz (x - mean)) / rows * (x - mean)
 *    = scale * dz + slope * x + offset. Also the gradients of weight and bias. */
INLINE void norm_coefficients(const double *dz, const double *dz_x, const float *mean, const float *rstd,
                              const float *scale, whole rows, whole width, float *slope, float *offset,
                              float *weight_gradient, float *bias_gradient) {
  for (whole c = 0; c < width; c++) {
    const double product = dz_x[c] * rstd[c]; /* sum of dz * normalised x */
    const double k = -(double)scale[c] * rstd[c] * product / rows;
    slope[c] = (float)k;
    offset[c] = (float)(-(double)scale[c] * dz[c] / rows - k * mean[c]);
    weight_gradient[c] = (float)product;
    bias_gradient[c] = (float)dz[c];
  }
}

#endif
