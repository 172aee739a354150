/* Shrinks an image and cuts its centre out, as Pillow does with a bilinear filter over all pixels that a new one covers,
   to within 1 of 255. First downwards, where neighbours in memory are summed alike, in 16 bits; then across, where there
   are few rows left, in 32. The loops are plain ones that compilers make vectors of. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define PIXEL 4  /* bytes: red, green, blue, and one that nobody looks at */
#define BITS 14  /* of a weight, behind the point */
#define MORE 7   /* bits behind the point of what was shrunk downwards only */
#define BLOCK 64 /* values of a row that are in registers together */

typedef int32_t pixel __attribute__((vector_size(16), aligned(4)));

/* The old pixels of a line that make a new one, and their weights. */
typedef struct {
    int first, count;
    const int32_t *weights;
} taps;

/* The taps of all `new` pixels that stand for the part of a line of `old` pixels between `from` and `to`. */
static void line_taps(taps *line, int32_t *weights, int most, int old, double from, double to, int new) {
    double scale = (to - from) / new, reach = scale < 1.0 ? 1.0 : scale;
    for (int i = 0; i < new; i++, weights += most) {
        double centre = from + (i + 0.5) * scale, sum = 0.0, raw[most];
        int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
        first = first < 0 ? 0 : first;
        end = end > old ? old : end;
        for (int k = first; k < end; k++) {
            double distance = fabs((k - centre + 0.5) / reach);
            sum += raw[k - first] = distance < 1.0 ? 1.0 - distance : 0.0;
        }
        for (int k = 0; k < end - first; k++) weights[k] = (int32_t)(raw[k] / sum * (1 << BITS) + 0.5);
        line[i] = (taps){first, end - first, weights};
    }
}

static inline uint16_t weighted(uint8_t value, uint16_t weight) {
    return (uint16_t)(((uint32_t)(uint16_t)(value << 8) * weight) >> 16);
}

/* One new row, of old ones; `values` are those of a row. */
static void shrink_down(const uint8_t *first, int64_t row_bytes, const taps *tap, int values, int32_t *restrict row) {
    for (int x = 0; x < values; x += BLOCK) {
        int some = values - x < BLOCK ? values - x : BLOCK;
        uint16_t sum[BLOCK];
        for (int j = 0; j < BLOCK; j++) sum[j] = tap->count / 2; /* each product loses half a unit on average */
        for (int k = 0; k < tap->count; k++) {
            const uint8_t *restrict old = first + k * row_bytes + x;
            uint16_t weight = tap->weights[k] << (MORE + 8 - BITS);
            if (some == BLOCK)
                for (int j = 0; j < BLOCK; j++) sum[j] += weighted(old[j], weight);
            else
                for (int j = 0; j < some; j++) sum[j] += weighted(old[j], weight);
        }
        for (int j = 0; j < some; j++) row[x + j] = sum[j];
    }
}

/* One row of the result, in planes. */
static void shrink_across(const int32_t *row, const taps *line, int new, uint8_t *red, uint8_t *green, uint8_t *blue) {
    for (int x = 0; x < new; x++) {
        const pixel *old = (const pixel *)row + line[x].first;
        pixel sum = {0};
        sum += 1 << (BITS + MORE - 1);
        for (int k = 0; k < line[x].count; k++) sum += old[k] * line[x].weights[k];
        sum >>= BITS + MORE;
        red[x] = sum[0] > 255 ? 255 : sum[0];
        green[x] = sum[1] > 255 ? 255 : sum[1];
        blue[x] = sum[2] > 255 ? 255 : sum[2];
    }
}

/* Adds the sum of each plane's values to sums[0..2], and that of their squares to sums[3..5]. */
static void add_up(const uint8_t *planes, int new, uint64_t *sums) {
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < new; y++, planes += new) {
            uint32_t total = 0, squares = 0;
            for (int x = 0; x < new; x++) {
                total += planes[x];
                squares += (uint32_t)planes[x] * planes[x];
            }
            sums[c] += total;
            sums[3 + c] += squares;
        }
}

/* The square of side `side` at (left, top) becomes 3 planes of new x new pixels. Gives 0, or 1 where memory is short. */
int shrink(const uint8_t *pixels, int width, int height, double left, double top, double side, int new, uint8_t *planes,
           uint64_t *sums) {
    int most = 2 * (int)ceil(side > new ? side / new : 1.0) + 1;
    int begin = left > most ? (int)left - most : 0, part = width - 2 * begin; /* of a row, with what the taps reach */
    taps *across = malloc(2 * new * sizeof(taps)), *down = across + new;
    int32_t *weights = malloc((size_t)2 * new * most * sizeof(int32_t));
    int32_t *row = malloc((size_t)PIXEL * part * sizeof(int32_t));
    int failed = !across || !weights || !row;
    if (!failed) {
        line_taps(across, weights, most, part, left - begin, left - begin + side, new);
        line_taps(down, weights + (size_t)new * most, most, height, top, top + side, new);
        for (int y = 0; y < new; y++) {
            int64_t row_bytes = (int64_t)PIXEL * width;
            shrink_down(pixels + down[y].first * row_bytes + PIXEL * begin, row_bytes, down + y, PIXEL * part, row);
            uint8_t *red = planes + (size_t)y * new, *green = red + (size_t)new * new;
            shrink_across(row, across, new, red, green, green + (size_t)new * new);
        }
        add_up(planes, new, sums);
    }
    free(across), free(weights), free(row);
    return failed;
}
