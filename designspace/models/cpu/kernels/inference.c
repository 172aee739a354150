/* A bottleneck block in evaluation mode: 1x1, 3x3, attention, 1x1 and the shortcut, a few images at a time.
 *
 * Batch-norm's statistics are known beforehand, so no map between the convolutions is written to memory. The arithmetic
 * is that of the single kernels, and so are the results. */
#include "attention.h"
#include "windows.h"

/* A convolution and its batch-norm. */
typedef struct {
  const float *w;
  whole w_out, w_in, w_tap, width; /* the weight's strides in floats (w_tap: of a 3x3), and the outputs */
  float *weight, *bias, *running_mean, *running_var;
  double eps;
} Layer;

/* A 1x1 convolution with packed weights, and its batch-norm. */
typedef struct {
  whole depth, width, row; /* channels of the input and output; floats of a row of outputs */
  float *panels, *rows;
  Norm norm;
} Dense;

/* Compute a batch-norm's rows from its running statistics; `rows` is memory for them. */
static Norm evaluated(const Layer *layer, float *rows) {
  finish(NULL, 0, 0, layer->width,
         (Learned){layer->weight, layer->bias, layer->running_mean, layer->running_var, NULL, layer->eps, 0, 0, rows});
  return norm_of(rows, layer->width);
}

/* Prepare a 1x1 convolution. Returns 0, or 1 without memory. */
static int prepare_dense(Dense *dense, const Layer *layer, whole depth) {
  dense->depth = depth, dense->width = layer->width, dense->row = parts(layer->width, LANES) * LANES;
  dense->panels = alloc(parts(layer->width, PAIR) * depth * PAIR);
  dense->rows = alloc(4 * layer->width);
  if (!dense->panels || !dense->rows) return 1;
  pack(layer->w, layer->w_in, layer->w_out, depth, layer->width, dense->panels);
  dense->norm = evaluated(layer, dense->rows);
  return 0;
}

/* Convolve `count` pixels, up to TILE, which are at `place` in x; `place` is padded to TILE entries. */
static void convolve_dense(const Dense *dense, const float *x, const whole *place, whole count, float *out) {
  const whole none = 0;
  const Factors factors = {x, place, &none, 1, dense->panels, &none, dense->depth, 1, dense->depth, dense->depth};
  product(&factors, count, dense->row / LANES, out, dense->row, 0);
}

/* Apply batch-norm and ReLU to rows of a tile, and write row i to out + place[i]. */
static void activate(const float *tile, whole tile_row, whole count, const Slice *slice, whole vecs, Norm norm,
                     const whole *place, float *out) {
  for (whole v = 0; v < vecs; v++) {
    const Slice s = slice[v];
    const vec scale = load_part(norm.scale + s.from, s.count), shift = load_part(norm.shift + s.from, s.count);
    for (whole i = 0; i < count; i++) {
      const vec value = load(tile + i * tile_row + s.at);
      store_part(out + place[i] + s.from, positive(value * scale + shift), s.count);
    }
  }
}

/* out = relu(batch-norm of the tile + shortcut), like join_forward: `count` rows of `width` channels. The shortcut's
 * rows are at `place`, and have their own batch-norm or none. */
static void join(const float *tile, whole tile_row, whole count, Norm own, const float *shortcut, const whole *place,
                 Norm other, float *out, whole width) {
  for (whole c = 0; c < width; c += LANES) {
    const whole part = smaller(LANES, width - c);
    const vec scale = load_part(own.scale + c, part), shift = load_part(own.shift + c, part);
    const vec factor = other.scale ? load_part(other.scale + c, part) : all(1);
    const vec constant = other.scale ? load_part(other.shift + c, part) : (vec){};
    for (whole i = 0; i < count; i++) {
      vec value = load(tile + i * tile_row + c) * scale + shift;
      value += load_part(shortcut + place[i] + c, part) * factor + constant;
      store_part(out + i * width + c, positive(value), part);
    }
  }
}

/* The layers of a block, prepared. */
typedef struct {
  Dense reduce, expand, project;
  Convolution spatial;
  float *rows; /* of the spatial convolution's batch-norm */
  Norm norm;
  Slice *slice, *dense_slice; /* of a spatial tile, and of the tile before it */
  whole *inside, *source; /* of each pixel: in the image with border; of each output, its input for the shortcut */
  int projects;
  whole attention_count, splits;
  Packed attentions[MOST_ATTENTIONS];
} Chain;

static int prepare_chain(Chain *chain, const Layer *layers, const Attention *attentions, whole in_channels, Shape s) {
  int failed = prepare_dense(&chain->reduce, layers, in_channels);
  failed |= prepare(&chain->spatial, s, layers[1].w, (Strides){layers[1].w_out, layers[1].w_in, layers[1].w_tap});
  failed |= prepare_dense(&chain->expand, layers + 2, s.channels / chain->splits);
  if (chain->projects) failed |= prepare_dense(&chain->project, layers + 3, in_channels);
  for (whole k = 0; k < chain->attention_count; k++) failed |= pack_attention(attentions + k, chain->attentions + k);
  chain->rows = alloc(4 * s.channels);
  chain->slice = malloc(sizeof(Slice) * (s.vecs + parts(s.in_channels, LANES)));
  chain->inside = malloc(sizeof(whole) * (s.in_pixels + s.pixels));
  if (failed || !chain->rows || !chain->slice || !chain->inside) return 1;
  chain->source = chain->inside + s.in_pixels;
  for (whole p = 0; p < s.in_pixels; p++)
    chain->inside[p] = ((p / s.in_width + 1) * (s.in_width + 2) + p % s.in_width + 1) * s.in_pitch;
  for (whole p = 0; p < s.pixels; p++)
    chain->source[p] = (p / s.width * s.in_width + p % s.width) * s.stride * in_channels;
  chain->norm = evaluated(layers + 1, chain->rows);
  chain->dense_slice = chain->slice + s.vecs;
  slices(chain->slice, s.narrow ? 1 : s.groups, s.narrow ? s.channels : s.group_out);
  slices(chain->dense_slice, 1, s.in_channels);
  return 0;
}

/* Memory for the maps of a few images, for tiles, and for weights of splits. */
typedef struct {
  float *in, *conv, *middle, *tile, *other, *sums, *means, *weights;
  Packed attentions[MOST_ATTENTIONS];
} Memory;

/* Allocate memory for `images` images. Returns 0, or 1 without memory. */
static int prepare_memory(Memory *m, const Chain *chain, whole images) {
  const Shape *s = &chain->spatial.shape;
  const whole widest = chain->reduce.row > chain->expand.row ? chain->reduce.row : chain->expand.row;
  const whole weights = chain->attention_count ? images * s->channels : 0;
  *m = (Memory){.in = alloc(images * bordered(s)),
                .conv = alloc((s->pixels + ROWS) * s->row),
                .middle = alloc(images * s->pixels * s->channels),
                .tile = alloc(TILE * widest),
                .other = alloc(TILE * (chain->project.row + parts(chain->expand.depth, LANES) * LANES)),
                .sums = alloc(2 * weights),
                .means = alloc(weights),
                .weights = alloc(weights)};
  int failed = !m->in || !m->conv || !m->middle || !m->tile || !m->other || !m->sums || !m->means || !m->weights;
  for (whole k = 0; k < chain->attention_count; k++) {
    Attention *a = &m->attentions[k].of;
    m->attentions[k] = chain->attentions[k];
    a->means = alloc(images * a->width), a->raw = alloc(images * a->hidden), a->norm.rows = alloc(4 * a->hidden);
    a->gate = alloc(images * a->splits * a->width);
    failed |= !a->means || !a->raw || !a->norm.rows || !a->gate;
  }
  if (!failed) memset(m->in, 0, sizeof(float) * images * bordered(s));
  return failed;
}

static void release_memory(Memory *m, const Chain *chain) {
  for (whole k = 0; k < chain->attention_count; k++) {
    Attention *a = &m->attentions[k].of;
    free(a->means); free(a->raw); free(a->norm.rows); free(a->gate);
  }
  free(m->in); free(m->conv); free(m->middle); free(m->tile); free(m->other); free(m->sums); free(m->means);
  free(m->weights);
}

/* Fill in the offsets of a tile's rows: those of pixels in an image, of `pixels` pixels, plus those of the images.
 * `pixel` and `image` are those of the first row, and then those after the last. */
static void places(const whole *of_pixel, whole pixels, whole image_size, whole *pixel, whole *image, whole count,
                   whole *place) {
  for (whole i = 0; i < count; i++) {
    place[i] = *image * image_size + of_pixel[*pixel];
    if (++*pixel == pixels) *pixel = 0, ++*image;
  }
  for (whole i = count; i < TILE; i++) place[i] = place[count - 1]; /* padding, whose results are not used */
}

/* Offsets of contiguous rows of `width` floats, the last one repeated up to TILE. */
static void lines(whole width, whole count, whole *place) {
  for (whole i = 0; i < TILE; i++) place[i] = smaller(i, count - 1) * width;
}

/* Run the first 1x1 convolution on `images` images, into images with border. */
static void run_reduce(const Chain *chain, const float *x, whole images, Memory *m) {
  const Shape *s = &chain->spatial.shape;
  const whole in_channels = chain->reduce.depth;
  whole place[TILE], target[TILE], pixel = 0, image = 0;
  for (whole first = 0; first < images * s->in_pixels; first += TILE) {
    const whole count = smaller(TILE, images * s->in_pixels - first);
    const float *from = x + first * in_channels;
    for (whole i = 0; i < count * in_channels; i += 16) prefetch(from + TILE * in_channels + i);
    lines(in_channels, count, place);
    places(chain->inside, s->in_pixels, bordered(s), &pixel, &image, count, target);
    convolve_dense(&chain->reduce, from, place, count, m->tile);
    activate(m->tile, chain->reduce.row, count, chain->dense_slice, chain->reduce.row / LANES, chain->reduce.norm, target,
             m->in);
  }
}

/* Run the 3x3 convolution. If there is attention, its output is kept before batch-norm, and the weights are
 * computed. */
static int run_spatial(const Chain *chain, whole images, Memory *m) {
  const Shape *s = &chain->spatial.shape;
  whole target[TILE];
  for (whole n = 0; n < images; n++) {
    float *out = m->middle + n * s->pixels * s->channels;
    convolve(&chain->spatial, m->in + n * bordered(s), m->conv);
    if (chain->attention_count) {
      const whole width = s->channels / chain->splits;
      emit(m->conv, s->row, s->pixels, chain->slice, s->vecs, out, s->channels, (Sums){NULL, NULL});
      average(out, chain->norm, s->pixels, chain->splits, width, m->sums, m->means + n * s->channels);
      continue;
    }
    for (whole first = 0; first < s->pixels; first += TILE) {
      const whole count = smaller(TILE, s->pixels - first);
      lines(s->channels, count, target);
      activate(m->conv + first * s->row, s->row, count, chain->slice, s->vecs, chain->norm, target,
               out + first * s->channels);
    }
  }
  return weigh(m->attentions, chain->attention_count, m->means, images, chain->splits, m->weights);
}

/* Run the last 1x1 convolution and the shortcut. */
static void run_expand(const Chain *chain, const float *x, whole images, float *out, Memory *m) {
  const Shape *s = &chain->spatial.shape;
  const whole in_channels = chain->reduce.depth, width = chain->expand.width, depth = chain->expand.depth;
  const whole pitch = parts(depth, LANES) * LANES;
  const Splits splits = {m->weights, chain->splits, s->pixels};
  float *sums = m->other + TILE * chain->project.row; /* of splits */
  whole place[TILE], row[TILE], pixel = 0, image = 0;
  for (whole first = 0; first < images * s->pixels; first += TILE) {
    const whole count = smaller(TILE, images * s->pixels - first);
    if (chain->attention_count) {
      for (whole i = 0; i < count; i++) row[i] = first + i;
      fetch_splits(m->middle, chain->norm, splits, row, count, depth, sums, pitch);
      lines(pitch, count, place);
    } else {
      lines(depth, count, place);
    }
    convolve_dense(&chain->expand, chain->attention_count ? sums : m->middle + first * depth, place, count, m->tile);
    places(chain->source, s->pixels, s->in_pixels * in_channels, &pixel, &image, count, place);
    if (chain->projects) {
      convolve_dense(&chain->project, x, place, count, m->other);
      lines(chain->project.row, count, place);
    }
    join(m->tile, chain->expand.row, count, chain->expand.norm, chain->projects ? m->other : x, place,
         chain->project.norm, out + first * width, width);
  }
}

/* out (images, height, width, channels) = a block of the layers 1x1, 3x3 and 1x1, and a 1x1 for the shortcut if `count`
 * is 4, with attentions after the 3x3. The stride is that of the 3x3 and of the shortcut. Returns 0, or 1 without memory. */
int chain_inference(const float *x, whole images, whole in_height, whole in_width, whole in_channels, whole stride,
                    whole groups, const Layer *layers, whole count, const Attention *attentions, whole attention_count,
                    float *out, whole threads) {
  const Shape s = shape_of(0, images, in_height, in_width, layers[0].width, layers[1].width, groups, stride);
  Chain chain = {0};
  chain.projects = count > 3;
  chain.attention_count = attention_count, chain.splits = attention_count ? attentions[0].splits : 1;
  int failed = prepare_chain(&chain, layers, attentions, in_channels, s);
  const whole together = parts(TILE, s.pixels), turns = parts(images, together); /* small maps fill tiles together */
#pragma omp parallel for schedule(static) num_threads(threads)
  for (whole block = 0; block < (failed ? 0 : BLOCKS); block++) {
    Memory m;
    int failed_here = prepare_memory(&m, &chain, together);
    for (whole turn = block * turns / BLOCKS; turn < (failed_here ? 0 : (block + 1) * turns / BLOCKS); turn++) {
      const whole first = turn * together, here = smaller(together, images - first);
      const float *from = x + first * s.in_pixels * in_channels;
      run_reduce(&chain, from, here, &m);
      failed_here |= run_spatial(&chain, here, &m);
      run_expand(&chain, from, here, out + first * s.pixels * chain.expand.width, &m);
    }
    release_memory(&m, &chain);
    if (failed_here) failed = 1;
  }
  Dense *dense[] = {&chain.reduce, &chain.expand, &chain.project};
  for (int i = 0; i < 3; i++) free(dense[i]->panels), free(dense[i]->rows);
  for (whole k = 0; k < attention_count; k++) free(chain.attentions[k].squeeze), free(chain.attentions[k].attend);
  release(&chain.spatial); free(chain.rows); free(chain.slice); free(chain.inside);
  return failed;
}
