/* Max pooling with indices, vectors along the last spatial dimension. Indices travel through the vectors as flat distances from the
 * window's first tap, in `real`s, which hold them exactly. */

/* ---- windows: all taps of a vector of outputs, then the next vector ---- */

/* Outputs i .. i + lanes of a strip; `inside` promises that no tap of theirs leaves the image. */
typedef struct FN(pool_lanes) {
    const pool *p;
    const FN(pool_row) * row;
    int64_t i, lanes;
    int64_t start; /* of the strip, as a flat index */
    real below; /* the distance of the first row inside the image */
} FN(pool_lanes);

/* Elements of the lanes at this column, `apart` from lane to lane; -inf outside the image. Inside, in pick_tap's order. */
static inline ALWAYS_INLINE vec FN(load_column)(const FN(pool_lanes) * t, const real *x, int64_t column, const int64_t apart,
                                                const int inside) {
    int64_t width = t->p->x.size[2], step = t->p->step[2];
    const real *from = x + column * t->p->x.stride[2];
    if (inside) return FN(pick_tap)(from, apart, VL);
    int64_t first = column < 0 ? min_i64(ceil_div(-column, step), VL) : 0;
    int64_t end = column < width ? min_i64(ceil_div(width - column, step), t->lanes) : 0;
    if (apart == 1 || apart == 2) {
        vec v = vload_span(from, apart, vspan_of(apart, (int)first, (int)end));
        return vselect(vlanes((int)first, (int)end), v, vset1(MINUS_INFINITY));
    }
    real lane[VL];
    for (int64_t i = 0; i < VL; i++) lane[i] = i >= first && i < end ? from[i * apart] : MINUS_INFINITY;
    return vload(lane);
}

/* 0, step, 2 * step, ...: how far the lanes' windows are from the first one. */
static inline ALWAYS_INLINE vec FN(windows_apart)(const int64_t step) {
    real lane[VL];
    EACH (i, VL) lane[i] = (real)(i * step);
    return vload(lane);
}

/* The distances of the first taps inside the image: what is found where all are -inf. */
static inline vec FN(first_distances)(const FN(pool_lanes) * t, int inside) {
    const pool *p = t->p;
    real lane[VL] = {0};
    if (inside) return vset1(t->below);
    for (int64_t i = 0; i < t->lanes; i++) {
        int64_t column = t->row->start[2] + (t->i + i) * p->step[2];
        lane[i] = t->below + (real)(first_inside(p, 2, column) - column);
    }
    return vload(lane);
}

/* What the strip below this one reads for the first time of a row, and where its indices go: rows are too short for the hardware to
 * see them coming. */
static inline ALWAYS_INLINE void FN(prefetch_below)(const FN(pool_lanes) * t, const real *x, const int64_t step, int64_t kh,
                                                    const int count) {
    const pool *p = t->p;
    const int64_t *index = t->row->index + t->i + p->indices.stride[1];
    if (kh + p->step[1] < p->kernel[1]) return;
    for (int64_t i = 0; i < count * VL * step; i += CACHE_LINE / (int64_t)sizeof(real))
        PREFETCH_READ(x + p->step[1] * p->x.stride[1] + i);
    if (kh == p->kernel[1] - 1)
        for (int64_t i = 0; i < count * VL; i += CACHE_LINE / (int64_t)sizeof *index) PREFETCH(index + i);
}

/* What is the same for all outputs: constants, where they are inlined. The step and the width of the kernel, or 0 for any; elements are
 * `apart` from one output to the next. */
typedef struct FN(pool_form) {
    int64_t step, width, apart;
} FN(pool_form);

/* What was found so far for the lanes: the maxima, and how far they are from the first window's first tap. */
typedef struct FN(found) {
    vec max[SIDE], where[SIDE];
} FN(found);

/* Tap kw of a row, which is `distance` from that of the first tap. */
static inline ALWAYS_INLINE void FN(take_tap)(const FN(pool_lanes) * t, const FN(pool_form) f, const int inside, const int count,
                                              const real *row, int64_t distance, int64_t kw, FN(found) * found) {
    int64_t along = f.width ? kw : kw * t->p->dilation[2], column = t->row->start[2] + t->i * f.step + along;
    vec here = vset1((real)(distance + along));
    EACH (v, count) {
        vec x = FN(load_column)(t, row, column + v * VL * f.step, f.apart, inside);
        vmask better = vmask_or(vgt(x, found->max[v]), visnan(x));
        found->where[v] = vselect(better, here, found->where[v]);
        found->max[v] = vselect(better, x, found->max[v]);
    }
}

/* `count` vectors side by side, so that their maxima do not wait for each other; one only unless inside. */
static inline ALWAYS_INLINE void FN(pool_vectors)(const FN(pool_lanes) * t, const FN(pool_form) f, const int inside,
                                                  const int count) {
    const pool *p = t->p;
    const FN(pool_row) *s = t->row;
    int64_t lanes = inside ? VL : t->lanes;
    real distances[SIDE * VL];
    FN(found) found;
    EACH (v, count) {
        found.max[v] = vset1(MINUS_INFINITY);
        found.where[v] = FN(first_distances)(t, inside);
    }
    for (int64_t kd = s->in[0].first; kd < s->in[0].end; kd++)
        for (int64_t kh = s->in[1].first; kh < s->in[1].end; kh++) {
            const real *row = FN(row_under)(p, s, kd, kh);
            int64_t distance = (kd * p->dilation[0] * p->x.size[1] + kh * p->dilation[1]) * p->x.size[2];
            if (inside) FN(prefetch_below)(t, row + s->start[2] + t->i * f.step, f.step, kh, count);
            if (f.width)
                EACH (kw, f.width) FN(take_tap)(t, f, inside, count, row, distance, kw, &found);
            else
                for (int64_t kw = 0; kw < p->kernel[2]; kw++) FN(take_tap)(t, f, inside, count, row, distance, kw, &found);
        }
    EACH (v, count) {
        vec apart = vadd(FN(windows_apart)(f.step), vset1((real)(v * VL * f.step)));
        if (inside && f.apart == 2) {
            found.max[v] = vreorder(found.max[v]);
            found.where[v] = vreorder(found.where[v]);
        }
        vstore_step(s->y + (t->i + v * VL) * p->y.stride[2], p->y.stride[2], found.max[v], (int)lanes);
        vstore(distances + v * VL, vadd(found.where[v], apart));
    }
    FN(put_indices)(s->index + t->i * p->indices.stride[2], p->indices.stride[2], t->start + t->i * f.step, distances,
                    inside ? count * VL : lanes);
}

/* Outputs i0..i1 of a strip; where whole vectors are promised the last one overlaps the one before it. */
static inline ALWAYS_INLINE void FN(pool_outputs)(FN(pool_lanes) * t, int64_t i0, int64_t i1, const FN(pool_form) f,
                                                  const int inside) {
    t->i = i0;
    for (; inside && t->i + SIDE * VL <= i1; t->i += SIDE * VL) FN(pool_vectors)(t, f, 1, SIDE);
    for (; t->i < i1; t->i += VL) {
        t->lanes = min_i64(VL, i1 - t->i);
        if (inside) t->i = min_i64(t->i, i1 - VL);
        FN(pool_vectors)(t, f, inside, 1);
    }
}

/* The outputs inside..outside of a strip have all their taps in the image. */
static inline ALWAYS_INLINE void FN(pool_strip)(const pool *p, const FN(pool_row) * s, int64_t inside, int64_t outside,
                                                const FN(pool_form) f) {
    int64_t down[2];
    for (int k = 0; k < 2; k++) down[k] = first_inside(p, k, s->start[k]) - s->start[k];
    FN(pool_lanes) t = {.p = p, .row = s, .start = flat_index(p, s->start)};
    t.below = (real)((down[0] * p->x.size[1] + down[1]) * p->x.size[2]);
    if (outside - inside < VL) inside = outside = s->count;
    FN(pool_outputs)(&t, 0, inside, f, 0);
    FN(pool_outputs)(&t, inside, outside, f, 1);
    FN(pool_outputs)(&t, outside, s->count, f, 0);
}

#define POOL_FORM(step, width, apart) FN(pool_strip)(p, &s, inside, outside, (FN(pool_form)){step, width, apart})

static void FN(pool_with_indices)(const pool *p, int64_t begin, int64_t end) {
    int64_t width = p->y.size[2], reach = (p->kernel[2] - 1) * p->dilation[2], step = p->step[2];
    int dense = p->x.stride[2] == 1 && p->dilation[2] == 1;
    for (place at = pool_place(p, begin); begin < end;) {
        int64_t count = min_i64(end - begin, width - at.o[2]), rows = count == width ? (end - begin) / width : 1;
        FN(pool_row) s = FN(strip_at)(p, &at, count);
        int64_t inside = min_i64(s.start[2] < 0 ? ceil_div(-s.start[2], p->step[2]) : 0, count);
        int64_t room = p->x.size[2] - reach - s.start[2];
        int64_t outside = room > 0 ? min_i64(ceil_div(room, p->step[2]), count) : 0;
        for (int64_t r = 0; r < rows; r++) {
            if (r > 0) FN(next_strip)(p, &at, &s);
            if (dense && step == 2 && p->kernel[2] == 2) POOL_FORM(2, 2, 2);
            else if (dense && step == 2 && p->kernel[2] == 3) POOL_FORM(2, 3, 2);
            else if (dense && step == 1) POOL_FORM(1, 0, 1);
            else POOL_FORM(step, 0, step * p->x.stride[2]);
        }
        begin += rows * count;
        if ((at.o[2] += count) == width) pool_next_row(p, &at);
    }
}

/* ---- shares with indices: the maximum of each column, then of columns ---- */

/* line = the column-wise maximum of the rows under the strip, where = how far its row is from the first one, in flat indices. */
static void FN(find_in_columns)(const pool *p, const FN(pool_row) * s, real *line, real *where) {
    for (int64_t i = 0; i < s->length; i += VL) {
        int lanes = (int)min_i64(VL, s->length - i);
        vmask mask = vlanes(0, lanes);
        vec max = vset1(MINUS_INFINITY), row = vzero();
        for (int64_t d = 0; d < s->in[0].end; d++)
            for (int64_t h = 0; h < s->in[1].end; h++) {
                const real *from = FN(row_under)(p, s, d, h) + s->start[2] + i;
                vec x = lanes == VL ? vload(from) : vload_masked(from, mask);
                vmask better = vmask_or(vgt(x, max), visnan(x));
                row = vselect(better, vset1((real)((d * p->x.size[1] + h) * p->x.size[2])), row);
                max = vselect(better, x, max);
            }
        vstore(line + i, max);
        vstore(where + i, row);
    }
}

/* All dimensions are shared out, rows are dense. */
static void FN(shares_with_indices)(const pool *p, int64_t begin, int64_t end, real *line) {
    int64_t width = p->y.size[2], longest = (LINE / 2 - p->kernel[2]) / p->step[2] + 1;
    int64_t whole = p->x.size[2] / width, part = p->x.size[2] % width;
    real *rows = line + LINE / 2 + VL;
    for (place at = pool_place(p, begin); begin < end;) {
        int64_t count = min_i64(min_i64(end - begin, width - at.o[2]), longest);
        FN(pool_row) s = FN(strip_at)(p, &at, count);
        FN(find_in_columns)(p, &s, line, rows);
        FN(share) share = FN(share_at)(p, at.o[2]);
        int64_t base = flat_index(p, s.start) - s.start[2];
        for (int64_t i = 0; i < count; i++, share = FN(next_share)(p, &share, whole, part)) {
            int64_t found = share.start;
            real max = MINUS_INFINITY;
            for (int64_t k = share.start; k < share.end; k++) {
                real v = line[k - s.start[2]];
                int64_t here = k + (int64_t)rows[k - s.start[2]];
                int better = (v > max) | ((v == max) & (here < found)) | ((v != v) & ((max == max) | (here > found)));
                max = better ? v : max;
                found = better ? here : found;
            }
            s.y[i * p->y.stride[2]] = max;
            s.index[i * p->indices.stride[2]] = base + found;
        }
        begin += count;
        if ((at.o[2] += count) == width) pool_next_row(p, &at);
    }
}
