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

/* Moves the outputs of one row in the channels given; whichever of them is contiguous in y is the inner loop. */
static inline ALWAYS_INLINE void FN(move_outputs)(const pool *p, const place *row, int64_t channels, const int64_t step,
                                                  const pool_move how) {
    real *x = (real *)p->x.data + row->n * p->x.stride_n + row->c * p->x.stride_c;
    real *y = (real *)p->y.data + volume_offset(&p->y, row, row->o);
    const int64_t *index = (const int64_t *)p->indices.data + volume_offset(&p->indices, row, row->o);
    for (int64_t i = 0; i < p->y.size[2]; i++) {
        for (int64_t c = 0; c < channels; c++) {
            int64_t at = index[c * p->indices.stride_c];
            real *there = x + c * p->x.stride_c + (step ? at * step : FN(element_of)(p, at)), *value = y + c * p->y.stride_c;
            if (how == POOL_ADD) *there += *value;
            else if (how == POOL_PUT) *there = *value;
            else *value = *there;
        }
        y += p->y.stride[2];
        index += p->indices.stride[2];
    }
}

static inline ALWAYS_INLINE void FN(move_channels)(const pool *p, const move_share *s, const pool_move how) {
    int64_t together = p->channels_last ? s->c1 - s->c0 : 1;
    for (int64_t c = s->c0; c < s->c1; c += together) {
        place row = {.n = s->n, .c = c};
        if (how != POOL_TAKE) FN(clear_channels)(p, s->n, c, together, s->pixel0, s->pixel1);
        for (int64_t i = s->row0; i < s->row1; i++) {
            row.o[0] = i / p->y.size[1];
            row.o[1] = i % p->y.size[1];
            if (p->pixel_step == 1) FN(move_outputs)(p, &row, together, 1, how);
            else FN(move_outputs)(p, &row, together, p->pixel_step, how);
        }
    }
}

/* In the order of the outputs. */
static void FN(pool_move)(const pool *p, const move_share *share, int how) {
    if (how == POOL_ADD) FN(move_channels)(p, share, POOL_ADD);
    else if (how == POOL_PUT) FN(move_channels)(p, share, POOL_PUT);
    else FN(move_channels)(p, share, POOL_TAKE);
}
