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

/* The same, every second element in the order of vpick: put right once all taps are through. */
static inline vec FN(pick_tap)(const real *p, int64_t step, int64_t lanes) {
    return step == 2 ? vpick_step(p, 2) : FN(pick)(p, step, lanes);
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
        vec max = FN(pick_tap)(from, step, lanes);
        for (int k = 1; k < count; k++) max = FN(greater_or_nan)(FN(pick_tap)(from + at[k], step, lanes), max);
        vstore_step(y + i * y_step, y_step, step == 2 ? vreorder(max) : max, (int)lanes);
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
