/* Between y (n, c, od, oh, ow) and the places in planes of x (n, c, d, h, w) that indices of y's shape name; any strides. */

static inline int64_t FN(element_of)(const pool *p, int64_t index) {
    if (p->pixel_step) return index * p->pixel_step;
    int64_t row = index / p->x.size[2];
    return row / p->x.size[1] * p->x.stride[0] + row % p->x.size[1] * p->x.stride[1] + index % p->x.size[2] * p->x.stride[2];
}

/* Pixels pixel0..pixel1 of channels c0 .. c0 + channels of image n. */
static void FN(clear_channels)(const pool *p, int64_t n, int64_t c0, int64_t channels, int64_t pixel0, int64_t pixel1) {
    real *x = (real *)p->x.data + n * p->x.stride_n + c0 * p->x.stride_c;
    int64_t count = pixel1 - pixel0;
    if (p->x.stride_c == 1 && p->pixel_step == channels)
        memset(x + pixel0 * channels, 0, (size_t)(count * channels) * sizeof(real));
    else if (p->x.stride_c == 1 && channels > 1)
        for (int64_t i = pixel0; i < pixel1; i++) memset(x + FN(element_of)(p, i), 0, (size_t)channels * sizeof(real));
    else if (p->pixel_step == 1)
        for (int64_t c = 0; c < channels; c++) memset(x + c * p->x.stride_c + pixel0, 0, (size_t)count * sizeof(real));
    else
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = pixel0; i < pixel1; i++) x[c * p->x.stride_c + FN(element_of)(p, i)] = 0;
}

#ifndef MOVED
#define MOVED 2048 /* indices at once, which stay in L1 from when they are checked until they are used */
#endif

/* Outputs of one row, `count` of them in `channels` channels. */
typedef struct FN(moved) {
    real *x, *y;
    const int64_t *index;
    int64_t count, channels;
} FN(moved);

static inline ALWAYS_INLINE index_span FN(reach_of_line)(const int64_t *index, int64_t count, const int64_t step,
                                                         index_span found) {
    for (int64_t i = 0; i < count; i++) {
        int64_t at = index[i * step];
        found.first = at < found.first ? at : found.first;
        found.last = at > found.last ? at : found.last;
    }
    return found;
}

/* The least and the greatest of the outputs' indices, and of those that were found before. */
static index_span FN(reach_of)(const pool *p, const FN(moved) * m, index_span found) {
    int by_channels = m->channels > 1 && p->indices.stride_c == 1;
    int64_t lines = by_channels ? m->count : m->channels, length = by_channels ? m->channels : m->count;
    int64_t step = by_channels ? 1 : p->indices.stride[2], next = by_channels ? p->indices.stride[2] : p->indices.stride_c;
    for (int64_t i = 0; i < lines; i++)
        if (step == 1) found = FN(reach_of_line)(m->index + i * next, length, 1, found);
        else found = FN(reach_of_line)(m->index + i * next, length, step, found);
    return found;
}

/* The same of rows row0..row1 of image n, all channels. */
static index_span FN(index_reach)(const pool *p, int64_t n, int64_t row0, int64_t row1) {
    index_span found = {INT64_MAX, INT64_MIN};
    for (int64_t row = row0; row < row1; row++) {
        place at = {.n = n, .o = {row / p->y.size[1], row % p->y.size[1], 0}};
        FN(moved) m = {.index = (const int64_t *)p->indices.data + volume_offset(&p->indices, &at, at.o)};
        m.count = p->y.size[2];
        m.channels = p->y.c;
        found = FN(reach_of)(p, &m, found);
    }
    return found;
}

/* Whichever of row and channels is contiguous in y is the inner loop. */
static inline ALWAYS_INLINE void FN(move_outputs)(const pool *p, const FN(moved) * m, const int64_t step, const pool_move how) {
    const int64_t *index = m->index;
    real *y = m->y;
    for (int64_t i = 0; i < m->count; i++) {
        for (int64_t c = 0; c < m->channels; c++) {
            int64_t at = index[c * p->indices.stride_c];
            real *there = m->x + c * p->x.stride_c + (step ? at * step : FN(element_of)(p, at)), *value = y + c * p->y.stride_c;
            if (how == POOL_ADD) *there += *value;
            else if (how == POOL_PUT) *there = *value;
            else *value = *there;
        }
        y += p->y.stride[2];
        index += p->indices.stride[2];
    }
}

/* Clears the pixels that the outputs go to before they are moved, unless `cleared` says that they are: as a rule indices rise, and the
 * pixels are still in L1 when they are written again. Returns whether all of these indices name a pixel, and moves nothing otherwise. */
static inline ALWAYS_INLINE int FN(move_some)(const pool *p, const move_share *s, const place *row, int64_t count,
                                              int64_t channels, int64_t *cleared, const pool_move how) {
    FN(moved)
    m = {.x = (real *)p->x.data + row->n * p->x.stride_n + row->c * p->x.stride_c,
         .y = (real *)p->y.data + volume_offset(&p->y, row, row->o),
         .index = (const int64_t *)p->indices.data + volume_offset(&p->indices, row, row->o),
         .count = count,
         .channels = channels};
    index_span found = FN(reach_of)(p, &m, (index_span){0, 0});
    if (found.first < 0 || found.last >= p->x.size[0] * p->x.size[1] * p->x.size[2]) return 0;
    if (found.last >= *cleared && *cleared < s->pixel1) {
        int64_t to = min_i64(found.last + 1, s->pixel1);
        FN(clear_channels)(p, s->n, row->c, channels, *cleared, to);
        *cleared = to;
    }
    if (p->pixel_step == 1 && channels == 1) {
        m.channels = 1;
        FN(move_outputs)(p, &m, 1, how);
    } else FN(move_outputs)(p, &m, p->pixel_step, how);
    return 1;
}

static inline ALWAYS_INLINE int FN(move_channels)(const pool *p, const move_share *s, const pool_move how) {
    int64_t together = p->channels_last ? s->c1 - s->c0 : 1, most = max_i64(1, MOVED / together);
    for (int64_t c = s->c0; c < s->c1; c += together) {
        place row = {.n = s->n, .c = c};
        int64_t cleared = how == POOL_TAKE ? s->pixel1 : s->pixel0;
        for (int64_t i = s->row0; i < s->row1; i++) {
            row.o[0] = i / p->y.size[1];
            row.o[1] = i % p->y.size[1];
            for (row.o[2] = 0; row.o[2] < p->y.size[2]; row.o[2] += most)
                if (!FN(move_some)(p, s, &row, min_i64(most, p->y.size[2] - row.o[2]), together, &cleared, how)) return 0;
        }
        if (cleared < s->pixel1) FN(clear_channels)(p, s->n, c, together, cleared, s->pixel1);
    }
    return 1;
}

/* Each share in the order of its outputs. */
static int FN(pool_move)(const pool *p, const move_share *share, int how) {
    if (how == POOL_ADD) return FN(move_channels)(p, share, POOL_ADD);
    if (how == POOL_PUT) return FN(move_channels)(p, share, POOL_PUT);
    return FN(move_channels)(p, share, POOL_TAKE);
}
