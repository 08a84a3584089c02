/* Max pooling with vectors along the channels; and which of its kernels serves. */

/* One pixel of outputs: where its window starts, which taps it has, how far apart they are in x and in indices. */
typedef struct FN(pool_pixel) {
    const real *x;
    real *y;
    int64_t *index;
    int64_t y_step, index_step, first_index;
    real first; /* distance of the first tap inside */
    tap_range in[3];
    int64_t x_stride[3], distance[3];
} FN(pool_pixel);

/* Channels c .. c + count * VL of it, or the first `lanes` of one vector. */
static inline ALWAYS_INLINE void FN(pool_channels)(const FN(pool_pixel) * s, int64_t c, const int count, int64_t lanes,
                                                   const int indexed) {
    vec max[GROUP], where[GROUP];
    real distances[GROUP * VL];
    vmask mask = vlanes(0, (int)lanes);
    EACH (v, count) {
        max[v] = vset1(MINUS_INFINITY);
        where[v] = vset1(s->first);
    }
    for (int64_t kd = s->in[0].first; kd < s->in[0].end; kd++)
        for (int64_t kh = s->in[1].first; kh < s->in[1].end; kh++) {
            const real *x = s->x + kd * s->x_stride[0] + kh * s->x_stride[1] + c;
            int64_t row = kd * s->distance[0] + kh * s->distance[1];
            for (int64_t kw = s->in[2].first; kw < s->in[2].end; kw++)
                EACH (v, count) {
                    const real *from = x + kw * s->x_stride[2] + v * VL;
                    vec value = lanes == VL ? vload(from) : vload_masked(from, mask);
                    if (!indexed) max[v] = FN(greater_or_nan)(value, max[v]);
                    else {
                        vmask better = vmask_or(vgt(value, max[v]), visnan(value));
                        max[v] = vselect(better, value, max[v]);
                        where[v] = vselect(better, vset1((real)(row + kw * s->distance[2])), where[v]);
                    }
                }
        }
    EACH (v, count) {
        vstore_step(s->y + (c + v * VL) * s->y_step, s->y_step, max[v], (int)lanes);
        if (indexed) vstore(distances + v * VL, where[v]);
    }
    if (indexed)
        FN(put_indices)(s->index + c * s->index_step, s->index_step, s->first_index, distances, (count - 1) * VL + lanes);
}

/* All channels; the last vector overlaps the one before it. */
static inline ALWAYS_INLINE void FN(pool_all_channels)(const FN(pool_pixel) * s, int64_t channels, const int indexed) {
    int64_t c = 0;
    for (; c + GROUP * VL <= channels; c += GROUP * VL) FN(pool_channels)(s, c, GROUP, VL, indexed);
    for (; c + VL <= channels; c += VL) FN(pool_channels)(s, c, 1, VL, indexed);
    if (c == channels) return;
    if (channels >= VL) FN(pool_channels)(s, channels - VL, 1, VL, indexed);
    else FN(pool_channels)(s, 0, 1, channels, indexed);
}

static void FN(pool_pixels)(const pool *p, int64_t begin, int64_t end) {
    FN(pool_pixel) s = {.y_step = p->y.stride_c, .index_step = p->indices.stride_c};
    s.distance[2] = p->dilation[2];
    s.distance[1] = p->dilation[1] * p->x.size[2];
    s.distance[0] = p->dilation[0] * p->x.size[1] * p->x.size[2];
    for (int k = 0; k < 3; k++) s.x_stride[k] = p->dilation[k] * p->x.stride[k];
    int64_t start[3], first[3];
    place at = pool_place(p, begin);
    for (int64_t i = begin; i < end; i++) {
        for (int k = i == begin || at.o[2] == 0 ? 0 : 2; k < 3; k++) {
            start[k] = window_start(p, k, at.o[k]);
            s.in[k] = taps_inside(p, k, at.o[k]);
            first[k] = first_inside(p, k, start[k]) - start[k];
        }
        s.x = (const real *)p->x.data + volume_offset(&p->x, &at, start);
        s.y = (real *)p->y.data + volume_offset(&p->y, &at, at.o);
        if (p->indices.data) {
            s.index = (int64_t *)p->indices.data + volume_offset(&p->indices, &at, at.o);
            s.first_index = flat_index(p, start);
            s.first = (real)flat_index(p, first);
            FN(pool_all_channels)(&s, p->x.c, 1);
        } else FN(pool_all_channels)(&s, p->x.c, 0);
        if (++at.o[2] == p->y.size[2]) pool_next_row(p, &at);
    }
}

/* ---- which of them ---- */

/* Outputs begin..end, in the order of pool_place. */
static void FN(max_pool)(const pool *p, int64_t begin, int64_t end, void *workspace) {
    int64_t span = (p->kernel[2] - 1) * p->dilation[2] + 1;
    /* From a window's first tap to its last, in flat indices, which lanes count in; and from there to the windows beside it. */
    double distance = 0, beside = SIDE * VL * (double)p->step[2];
    for (int k = 0; k < 3; k++) distance = distance * (double)p->x.size[k] + (double)(p->kernel[k] - 1) * (double)p->dilation[k];
    int countable = !p->indices.data || distance + beside < (F64 ? INT32_MAX : 1 << 24);
    int fits_line = p->step[2] <= LINE / 4 / VL && span <= LINE / 2;
    int adaptive = p->adaptive[0] || p->adaptive[1] || p->adaptive[2];
    int by_columns = adaptive && p->x.stride[2] == 1;
    if (countable && p->channels_last) FN(pool_pixels)(p, begin, end);
    else if (!countable || !fits_line || is_alone(p)) FN(pool_windows)(p, begin, end);
    else if (p->indices.data && by_columns) FN(shares_with_indices)(p, begin, end, workspace);
    else if (p->indices.data && adaptive) FN(pool_windows)(p, begin, end);
    else if (p->indices.data) FN(pool_with_indices)(p, begin, end);
    else FN(pool_values)(p, begin, end, workspace);
}
