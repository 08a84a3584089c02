/* Max pooling over x (n, c, d, h, w) of any strides. A value replaces the maximum if it is greater or NaN, in row-major order of the
 * taps, as in PyTorch; the maximum starts as -inf at the first tap inside the image.
 *
 * Indices travel through the vectors as flat distances from the window's first tap, in `real`s, which hold them exactly. */

#undef LINE
#undef GROUP
#undef SIDE
#define LINE (16384 / (int)sizeof(real)) /* elements of a line buffer, half of L1 */
#define SLACK (4 * VL) /* whole vectors may be read and written behind its end */
#define GROUP 4 /* vectors of channels at a time */
#define SIDE 2 /* vectors of outputs of a row */
#define POOL_WORKSPACE ((LINE + SLACK) * sizeof(real))
#define MINUS_INFINITY ((real) - INFINITY)

static inline vec FN(greater_or_nan)(vec v, vec max) { return vselect(visnan(v), v, vmax_or_second(v, max)); }

/* A vector of elements `step` apart, the first `lanes` of it. */
static inline vec FN(pick)(const real *p, int64_t step, int64_t lanes) {
    real lane[VL] = {0};
    if (step == 1 || step == 2) return vload_step(p, step);
    for (int64_t i = 0; i < lanes; i++) lane[i] = p[i * step];
    return vload(lane);
}

/* index[i * step] = base + distance i */
static inline void FN(put_indices)(int64_t *index, int64_t step, int64_t base, const real *distance, int64_t n) {
    if (step == 1)
        for (int64_t i = 0; i < n; i++) index[i] = base + (int32_t)distance[i];
    else
        for (int64_t i = 0; i < n; i++) index[i * step] = base + (int32_t)distance[i];
}

/* ---- one window at a time: for single windows, and for what the vectors below cannot serve ---- */

/* The part of a window inside the image. */
typedef struct FN(window_inside) {
    const real *x; /* its first element */
    int64_t count[3], stride[3];
} FN(window_inside);

static vec FN(max_of_row)(const real *x, int64_t step, int64_t n, vec max) {
    if (step == 1) {
        for (; n >= VL; n -= VL, x += VL) max = FN(greater_or_nan)(vload(x), max);
        vmask mask = vlanes(0, (int)n);
        return n ? FN(greater_or_nan)(vselect(mask, vload_masked(x, mask), vset1(MINUS_INFINITY)), max) : max;
    }
    for (; n > 0; n -= VL, x += VL * step) {
        real lane[VL];
        for (int64_t i = 0; i < VL; i++) lane[i] = i < n ? x[i * step] : MINUS_INFINITY;
        max = FN(greater_or_nan)(vload(lane), max);
    }
    return max;
}

static real FN(max_of_window)(const FN(window_inside) * w) {
    vec lanes = vset1(MINUS_INFINITY);
    real lane[VL], max = MINUS_INFINITY;
    for (int64_t d = 0; d < w->count[0]; d++)
        for (int64_t h = 0; h < w->count[1]; h++)
            lanes = FN(max_of_row)(w->x + d * w->stride[0] + h * w->stride[1], w->stride[2], w->count[2], lanes);
    vstore(lane, lanes);
    for (int i = 0; i < VL; i++)
        if (lane[i] > max || lane[i] != lane[i]) max = lane[i];
    return max;
}

/* Which element of the window the maximum is: the first of equals, or the last NaN. */
static void FN(find_in_window)(const FN(window_inside) * w, real max, int64_t at[3]) {
    int64_t last[3] = {0, 0, 0};
    for (at[0] = 0; at[0] < w->count[0]; at[0]++)
        for (at[1] = 0; at[1] < w->count[1]; at[1]++) {
            const real *row = w->x + at[0] * w->stride[0] + at[1] * w->stride[1];
            for (at[2] = 0; at[2] < w->count[2]; at[2]++) {
                real v = row[at[2] * w->stride[2]];
                if (v == max) return;
                if (v != v) memcpy(last, at, sizeof last);
            }
        }
    memcpy(at, last, sizeof last);
}

static void FN(pool_window)(const pool *p, const place *at) {
    int64_t first[3], found[3];
    FN(window_inside) w;
    for (int k = 0; k < 3; k++) {
        tap_range in = taps_inside(p, k, at->o[k]);
        first[k] = first_inside(p, k, window_start(p, k, at->o[k]));
        w.count[k] = max_i64(in.end - in.first, 0);
        w.stride[k] =
            w.count[k] > 1 ? p->dilation[k] * p->x.stride[k] : 0; /* the dilation of a single element may be any number */
    }
    w.x = (const real *)p->x.data + volume_offset(&p->x, at, first);
    w.stride[2] = whole_to_row(p, w.count);
    real max = FN(max_of_window)(&w);
    ((real *)p->y.data)[volume_offset(&p->y, at, at->o)] = max;
    if (!p->indices.data) return;
    FN(find_in_window)(&w, max, found);
    for (int k = 0; k < 3; k++) first[k] += found[k] * p->dilation[k];
    ((int64_t *)p->indices.data)[volume_offset(&p->indices, at, at->o)] = flat_index(p, first);
}

static void FN(pool_windows)(const pool *p, int64_t begin, int64_t end) {
    place at = pool_place(p, begin);
    for (int64_t i = begin; i < end; i++) {
        for (place one = at; one.c < (p->channels_last ? p->x.c : at.c + 1); one.c++) FN(pool_window)(p, &one);
        if (++at.o[2] == p->y.size[2]) pool_next_row(p, &at);
    }
}

/* ---- vectors along the last spatial dimension, through a line that is padded with -inf ---- */

/* Outputs of one row, side by side. */
typedef struct FN(pool_row) {
    const real *x; /* channel plane */
    real *y;
    int64_t *index;
    int64_t start[3], count; /* where the first window begins; outputs */
    int64_t length; /* of the line under them */
    int64_t lo, hi; /* the part of the line that lies inside the image */
    tap_range in[2];
} FN(pool_row);

static FN(pool_row) FN(strip_at)(const pool *p, const place *at, int64_t count) {
    FN(pool_row) s = {.count = count, .length = (count - 1) * p->step[2] + (p->kernel[2] - 1) * p->dilation[2] + 1};
    s.x = (const real *)p->x.data + at->n * p->x.stride_n + at->c * p->x.stride_c;
    s.y = (real *)p->y.data + volume_offset(&p->y, at, at->o);
    if (p->indices.data) s.index = (int64_t *)p->indices.data + volume_offset(&p->indices, at, at->o);
    for (int k = 0; k < 3; k++) s.start[k] = window_start(p, k, at->o[k]);
    for (int k = 0; k < 2; k++) s.in[k] = taps_inside(p, k, at->o[k]);
    if (p->adaptive[2]) s.length = ceil_div((at->o[2] + count) * p->x.size[2], p->y.size[2]) - s.start[2];
    s.lo = min_i64(max_i64(-s.start[2], 0), s.length);
    s.hi = max_i64(min_i64(p->x.size[2] - s.start[2], s.length), s.lo);
    return s;
}

/* Moves on to the strip of the next row, which is most often one row down in the same plane. */
static inline void FN(next_strip)(const pool *p, place *at, FN(pool_row) * s) {
    pool_next_row(p, at);
    if (at->o[1] == 0) {
        *s = FN(strip_at)(p, at, s->count);
        return;
    }
    s->start[1] = p->adaptive[1] ? window_start(p, 1, at->o[1]) : s->start[1] + p->step[1];
    s->in[1] = taps_inside(p, 1, at->o[1]);
    s->y += p->y.stride[1];
    if (s->index) s->index += p->indices.stride[1];
}

/* Column 0 of the row that the strip reads at taps kd, kh. */
static inline const real *FN(row_under)(const pool *p, const FN(pool_row) * s, int64_t kd, int64_t kh) {
    return s->x + (s->start[0] + kd * p->dilation[0]) * p->x.stride[0] + (s->start[1] + kh * p->dilation[1]) * p->x.stride[1];
}

/* line[i] = a[i], or the greater of a[i] and b[i]; the last vector overlaps the one before it or is masked. */
static inline void FN(max_line)(real *line, const real *a, const real *b, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(line + i, b ? FN(greater_or_nan)(vload(b + i), vload(a + i)) : vload(a + i));
    if (i == n) return;
    vmask mask = vlanes(0, (int)(n - i));
    vec v = vload_masked(a + i, mask);
    vstore(line + i, b ? FN(greater_or_nan)(vload_masked(b + i, mask), v) : v);
}

static inline void FN(max_strided_line)(real *line, const real *a, int64_t stride, int64_t n, int first) {
    for (int64_t i = 0; i < n; i++) {
        real v = a[i * stride];
        line[i] = first || v > line[i] || v != v ? v : line[i];
    }
}

static inline void FN(fill_line)(real *line, int64_t n) {
    for (int64_t i = 0; i < n; i++) line[i] = MINUS_INFINITY;
}

/* Rows are too short for the hardware to see the next ones coming. */
static inline void FN(prefetch_row)(const real *row, int64_t n) {
    for (int64_t i = 0; i < n; i += CACHE_LINE / (int64_t)sizeof(real)) PREFETCH_READ(row + i);
}

/* line = the column-wise maximum of the rows under the strip, -inf outside the image and up to `length`. */
static void FN(reduce_rows)(const pool *p, const FN(pool_row) * s, real *line, int64_t length) {
    const real *waiting = NULL; /* the first row: it is read together with the second */
    int first = 1;
    FN(fill_line)(line, s->lo);
    for (int64_t kd = s->in[0].first; kd < s->in[0].end; kd++)
        for (int64_t kh = s->in[1].first; kh < s->in[1].end; kh++) {
            const real *row = FN(row_under)(p, s, kd, kh) + (s->start[2] + s->lo) * p->x.stride[2];
            FN(prefetch_row)(row + p->step[1] * p->x.stride[1], s->hi - s->lo); /* of the strip below */
            if (p->x.stride[2] != 1) FN(max_strided_line)(line + s->lo, row, p->x.stride[2], s->hi - s->lo, first);
            else if (first) waiting = row;
            else FN(max_line)(line + s->lo, waiting ? waiting : line + s->lo, row, s->hi - s->lo);
            if (!first) waiting = NULL;
            first = 0;
        }
    if (waiting) FN(max_line)(line + s->lo, waiting, NULL, s->hi - s->lo);
    int64_t filled = first ? s->lo : s->hi;
    FN(fill_line)(line + filled, length - filled);
}

/* y[i] = the greatest of up to three elements of the line, `at` from line[i * step]. */
static inline ALWAYS_INLINE void FN(max_across)(const real *line, int64_t step, const int64_t *at, const int count, real *y,
                                                int64_t y_step, int64_t n) {
    for (int64_t i = 0; i < n; i += VL) {
        int64_t lanes = min_i64(VL, n - i);
        const real *from = line + i * step;
        vec max = FN(pick)(from, step, lanes);
        for (int k = 1; k < count; k++) max = FN(greater_or_nan)(FN(pick)(from + at[k], step, lanes), max);
        vstore_step(y + i * y_step, y_step, max, (int)lanes);
    }
}

/* y = the maximum of each window of the line, which is overwritten: windows grow by doubling until at most three cover the kernel. */
static void FN(reduce_line)(const pool *p, real *line, int64_t length, real *y, int64_t n) {
    int64_t kernel = p->kernel[2], dilation = p->dilation[2], step = p->step[2], y_step = p->y.stride[2], width = 1;
    for (; kernel > 3 * width; width *= 2) FN(max_line)(line, line, line + width * dilation, length - width * dilation);
    const int64_t at[3] = {0, min_i64(width, kernel - width) * dilation, (kernel - width) * dilation};
    int count = (int)ceil_div(kernel, width);
    if (step == 1 && count == 2) FN(max_across)(line, 1, at, 2, y, y_step, n);
    else if (step == 1) FN(max_across)(line, 1, at, count, y, y_step, n);
    else if (step == 2 && count == 2) FN(max_across)(line, 2, at, 2, y, y_step, n);
    else if (step == 2) FN(max_across)(line, 2, at, count, y, y_step, n);
    else FN(max_across)(line, step, at, count, y, y_step, n);
}

/* The shares of the last dimension, one after another: columns start..end of the image. */
typedef struct FN(share) {
    int64_t start, end, rest; /* of the division that gives the start */
} FN(share);

static inline FN(share) FN(share_at)(const pool *p, int64_t o) {
    FN(share) s = {.start = window_start(p, 2, o), .rest = o * p->x.size[2] % p->y.size[2]};
    s.end = s.start + taps_inside(p, 2, o).end;
    return s;
}

static inline FN(share) FN(next_share)(const pool *p, const FN(share) * s, int64_t whole, int64_t part) {
    int64_t out = p->y.size[2], rest = s->rest + part, carry = rest >= out, start = s->start + whole + carry;
    rest -= carry * out;
    return (FN(share)){start, start + whole + (rest + part > out ? 2 : rest + part > 0), rest};
}

/* The same for shares o .. o + n of the last dimension: at most three windows cover one, since it is at most two longer than another. */
static void FN(reduce_shares)(const pool *p, int64_t o, real *line, int64_t length, real *y, int64_t n) {
    int64_t whole = p->x.size[2] / p->y.size[2], part = p->x.size[2] % p->y.size[2], width = 1;
    for (; 2 * width <= whole; width *= 2) FN(max_line)(line, line, line + width, length - width);
    FN(share) s = FN(share_at)(p, o);
    int64_t begin = s.start;
    for (int64_t i = 0; i < n; i++, s = FN(next_share)(p, &s, whole, part)) {
        int64_t start = s.start - begin, last = s.end - begin - width;
        const real tops[2] = {line[min_i64(start + width, last)], line[last]};
        real max = line[start];
        for (int k = 0; k < 2; k++) max = tops[k] > max || tops[k] != tops[k] ? tops[k] : max;
        y[i * p->y.stride[2]] = max;
    }
}

/* Values of outputs begin..end: rows to lines, lines to outputs, several rows at a time. Where windows do not overlap and y is dense,
 * the lines lie so close that their outputs form one line too. */
static void FN(pool_values)(const pool *p, int64_t begin, int64_t end, real *line) {
    int64_t span = (p->kernel[2] - 1) * p->dilation[2] + 1, width = p->y.size[2];
    int64_t longest = (LINE - span) / p->step[2] + 1;
    int joined = p->dense && !p->adaptive[2] && span <= p->step[2] && width * p->step[2] <= LINE;
    place at = pool_place(p, begin);
    while (begin < end) {
        int64_t count = min_i64(min_i64(end - begin, width - at.o[2]), longest), rows = 1;
        int64_t length = joined && count == width ? width * p->step[2] : (count - 1) * p->step[2] + span;
        if (p->adaptive[2]) length = FN(strip_at)(p, &at, count).length;
        int64_t pitch = joined && count == width ? length : length + VL; /* from line to line: reducing writes whole vectors */
        if (count == width) rows = max_i64(1, min_i64(LINE / pitch, (end - begin) / width));
        real *first_y = (real *)p->y.data + volume_offset(&p->y, &at, at.o);
        place from = at, to = at;
        FN(pool_row) s = FN(strip_at)(p, &at, count);
        for (int64_t r = 0; r < rows; r++) {
            if (r > 0) FN(next_strip)(p, &from, &s);
            FN(reduce_rows)(p, &s, line + r * pitch, length);
        }
        if (count == width) pool_next_row(p, &from);
        if (joined && count == width) FN(reduce_line)(p, line, rows * length, first_y, rows * count);
        else
            for (int64_t r = 0; r < rows; r++) {
                real *y = (real *)p->y.data + volume_offset(&p->y, &to, to.o);
                if (p->adaptive[2]) FN(reduce_shares)(p, to.o[2], line + r * pitch, length, y, count);
                else FN(reduce_line)(p, line + r * pitch, length, y, count);
                if (count == width) pool_next_row(p, &to);
            }
        begin += rows * count;
        at = from;
        if (count < width && (at.o[2] += count) == width) pool_next_row(p, &at);
    }
}

/* ---- vectors along the last spatial dimension, with indices: all taps of a vector of outputs, then the next vector ---- */

/* Outputs i .. i + lanes of a strip; `inside` promises that no tap of theirs leaves the image. */
typedef struct FN(pool_lanes) {
    const pool *p;
    const FN(pool_row) * row;
    int64_t i, lanes;
    int64_t start; /* of the strip, as a flat index */
    real below; /* the distance of the first row inside the image */
} FN(pool_lanes);

/* Elements of the lanes at this column, `apart` from lane to lane; -inf outside the image. */
static inline ALWAYS_INLINE vec FN(load_column)(const FN(pool_lanes) * t, const real *x, int64_t column, const int64_t apart,
                                                const int inside) {
    int64_t width = t->p->x.size[2], step = t->p->step[2];
    const real *from = x + column * t->p->x.stride[2];
    if (inside) return FN(pick)(from, apart, VL);
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
        found->where[v] = vselect(vmask_or(vgt(x, found->max[v]), visnan(x)), here, found->where[v]);
        found->max[v] = FN(greater_or_nan)(x, found->max[v]);
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

/* ---- vectors along channels ---- */

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
