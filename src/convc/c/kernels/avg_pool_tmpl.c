/* Averages of windows of x (n, c, d, h, w) of any strides, and square roots of sums of squares and other p-norms.
 *
 * At most SHORT values are added up in `real`, the totals of such sums in double, so that a long sum is as accurate as a short one: in
 * float32 a result is off by at most 75 units of roundoff of the average of |x|^power, however large the window. */

#undef AVG_POOL_WORKSPACE
#undef SHORT_LINE
#define SHORT_LINE (LINE / 2)
/* Of a line, of what each of its outputs is divided by, and of the last dimension's factor of that in one row. */
#define AVG_POOL_WORKSPACE (3 * (SHORT_LINE + SLACK) * sizeof(real))

static inline vec FN(square_if)(vec v, const int square) { return square ? vmul(v, v) : v; }

/* ---- one window at a time: for long sums, and for powers ---- */

/* sums[c] += the sum of x[i * step + c * stride_c]^power over i < n */
static void FN(sum_powers)(const real *x, int64_t step, int64_t n, int64_t stride_c, int64_t channels, double power,
                           double *sums) {
    if (power == 1) {
        FN(sum_line)(x, step, n, stride_c, channels, sums);
        return;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < n; i++) {
            double v = (double)x[i * step + c * stride_c];
            sums[c] += power == 2 ? v * v : pow(v, power);
        }
}

static inline double FN(root)(double sum, double power) {
    return power == 1 ? sum : power == 2 ? sqrt(sum) : pow(sum, 1 / power);
}

/* Channels c .. c + channels, at most SHORT, of the window at `at`. */
static void FN(average_window)(const avg_pool *a, const place *at, int64_t c, int64_t channels) {
    const pool *p = &a->pool;
    double sums[SHORT], divisor = 1;
    int64_t first[3], count[3];
    for (int k = 0; k < 3; k++) {
        avg_range s = avg_window(a, k, at->o[k]);
        first[k] = s.first;
        count[k] = s.end - s.first;
        divisor *= s.divisor;
    }
    const real *x = (const real *)p->x.data + volume_offset(&p->x, at, first) + c * p->x.stride_c;
    int64_t step = whole_to_row(p, count);
    for (int64_t i = 0; i < channels; i++) sums[i] = 0;
    for (int64_t d = 0; d < count[0]; d++)
        for (int64_t h = 0; h < count[1]; h++)
            FN(sum_powers)(x + d * p->x.stride[0] + h * p->x.stride[1], step, count[2], p->x.stride_c, channels, a->power, sums);
    real *y = (real *)p->y.data + volume_offset(&p->y, at, at->o) + c * p->y.stride_c;
    for (int64_t i = 0; i < channels; i++) y[i * p->y.stride_c] = (real)FN(root)(sums[i] / divisor, a->power);
}

static void FN(average_windows)(const avg_pool *a, int64_t begin, int64_t end, int64_t c0, int64_t c1) {
    if (!a->pool.channels_last) { /* the channel is part of the place */
        c0 = 0;
        c1 = 1;
    }
    place at = pool_place(&a->pool, begin);
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = c0; c < c1; c += SHORT) FN(average_window)(a, &at, c, min_i64(SHORT, c1 - c));
        if (++at.o[2] == a->pool.y.size[2]) pool_next_row(&a->pool, &at);
    }
}

/* ---- planes of few elements, one after another ---- */

#ifndef AHEAD
#define AHEAD 8 /* planes, to be read soon */
#endif

static inline vec FN(sum_of_plane)(const real *x, int64_t n, const int square) {
    vec sum = vzero();
    for (; n >= VL; n -= VL, x += VL) sum = vadd(sum, FN(square_if)(vload(x), square));
    return n ? vadd(sum, FN(square_if)(vload_masked(x, vlanes(0, (int)n)), square)) : sum;
}

/* The only outputs of planes begin..end. A plane's sum lies across a vector; VL of them are turned, and added up as one. */
static void FN(average_planes)(const avg_pool *a, int64_t begin, int64_t end) {
    const pool *p = &a->pool;
    real lane[VL], divisor = (real)(avg_window(a, 0, 0).divisor * avg_window(a, 1, 0).divisor * avg_window(a, 2, 0).divisor);
    int64_t n = p->x.size[0] * p->x.size[1] * p->x.size[2];
    place at = pool_place(p, begin);
    for (int64_t i = begin, count; i < end; i += count) {
        vec sums[VL], sum = vzero();
        real *y[VL];
        count = min_i64(VL, end - i);
        for (int k = 0; k < VL; k++) {
            const real *x = (const real *)p->x.data + at.n * p->x.stride_n + at.c * p->x.stride_c;
            y[k] = (real *)p->y.data + at.n * p->y.stride_n + at.c * p->y.stride_c;
            FN(prefetch_row)(x + AHEAD * n, n);
            sums[k] = a->power == 2 ? FN(sum_of_plane)(x, n, 1) : FN(sum_of_plane)(x, n, 0);
            if (k + 1 < count) pool_next_row(p, &at); /* behind the last one it is added up again, for nothing */
        }
        pool_next_row(p, &at);
        vtranspose(sums);
        EACH (k, VL) sum = vadd(sum, sums[k]);
        sum = vdiv(sum, vset1(divisor));
        vstore(lane, a->power == 2 ? vsqrt(sum) : sum);
        for (int k = 0; k < count; k++) *y[k] = lane[k];
    }
}

/* ---- vectors along channels ---- */

/* One pixel of outputs: its window in x. */
typedef struct FN(avg_pixel) {
    const real *x;
    real *y;
    int64_t y_step, count[3], x_stride[3];
    real divisor;
} FN(avg_pixel);

/* Channels c .. c + count * VL of it, or the first `lanes` of one vector. */
static inline ALWAYS_INLINE void FN(average_channels)(const FN(avg_pixel) * s, int64_t c, const int count, int64_t lanes,
                                                      const int square) {
    vec sum[GROUP];
    vmask mask = vlanes(0, (int)lanes);
    EACH (v, count) sum[v] = vzero();
    for (int64_t d = 0; d < s->count[0]; d++)
        for (int64_t h = 0; h < s->count[1]; h++) {
            const real *x = s->x + d * s->x_stride[0] + h * s->x_stride[1] + c;
            for (int64_t w = 0; w < s->count[2]; w++, x += s->x_stride[2])
                EACH (v, count) {
                    vec value = lanes == VL ? vload(x + v * VL) : vload_masked(x, mask);
                    sum[v] = vadd(sum[v], FN(square_if)(value, square));
                }
        }
    EACH (v, count) {
        vec mean = vdiv(sum[v], vset1(s->divisor));
        vstore_step(s->y + (c + v * VL) * s->y_step, s->y_step, square ? vsqrt(mean) : mean, (int)lanes);
    }
}

static inline ALWAYS_INLINE void FN(average_all_channels)(const FN(avg_pixel) * s, int64_t c, int64_t end, const int square) {
    for (; c + GROUP * VL <= end; c += GROUP * VL) FN(average_channels)(s, c, GROUP, VL, square);
    for (; c + VL <= end; c += VL) FN(average_channels)(s, c, 1, VL, square);
    if (c < end) FN(average_channels)(s, c, 1, end - c, square);
}

static void FN(average_pixels)(const avg_pool *a, int64_t begin, int64_t end, int64_t c0, int64_t c1) {
    const pool *p = &a->pool;
    FN(avg_pixel) s = {.y_step = p->y.stride_c, .x_stride = {p->x.stride[0], p->x.stride[1], p->x.stride[2]}};
    int64_t first[3];
    double divisor[3];
    place at = pool_place(p, begin);
    for (int64_t i = begin; i < end; i++) {
        for (int k = i == begin || at.o[2] == 0 ? 0 : 2; k < 3; k++) {
            avg_range w = avg_window(a, k, at.o[k]);
            first[k] = w.first;
            s.count[k] = w.end - w.first;
            divisor[k] = w.divisor;
        }
        s.divisor = (real)(divisor[0] * divisor[1] * divisor[2]);
        s.x = (const real *)p->x.data + volume_offset(&p->x, &at, first);
        s.y = (real *)p->y.data + volume_offset(&p->y, &at, at.o);
        if (a->power == 2) FN(average_all_channels)(&s, c0, c1, 1);
        else FN(average_all_channels)(&s, c0, c1, 0);
        if (++at.o[2] == p->y.size[2]) pool_next_row(p, &at);
    }
}

/* ---- vectors along the last spatial dimension ---- */

/* Outputs of one row side by side, and the columns under them: what lies there is summed to a line, lo..hi of it inside the image. */
typedef struct FN(avg_strip) {
    const avg_pool *a;
    int64_t o, count;     /* of the last dimension */
    int64_t base, length; /* columns; the first may lie in the padding */
    int64_t lo, hi;
    FN(share) share; /* of the first output, and what the next one follows from, where the last dimension is shared out */
    int64_t whole, part;
    const real *factors; /* of the outputs' divisors, what the last dimension gives; the other dimensions give `factor` */
    real factor;
    avg_range in[2];
    const real *x; /* the channel's plane, at column lo */
} FN(avg_strip);

static void FN(set_columns)(FN(avg_strip) * s, int64_t o, int64_t count, real *factors) {
    const pool *p = &s->a->pool;
    real whole = (real)(s->a->is_norm ? 1 : p->kernel[2]);
    s->o = o;
    s->count = count;
    s->base = window_start(p, 2, o);
    s->length = p->adaptive[2] ? avg_window(s->a, 2, o + count - 1).end - s->base : (count - 1) * p->step[2] + p->kernel[2];
    s->lo = min_i64(max_i64(-s->base, 0), s->length);
    s->hi = max_i64(min_i64(p->x.size[2] - s->base, s->length), s->lo);
    if (p->adaptive[2]) {
        s->share = FN(share_at)(p, o);
        s->whole = p->x.size[2] / p->y.size[2];
        s->part = p->x.size[2] % p->y.size[2];
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t start = s->base + i * p->step[2];
        int is_whole = !p->adaptive[2] && start >= 0 && start + p->kernel[2] <= p->x.size[2];
        factors[i] = is_whole ? whole : (real)avg_window(s->a, 2, o + i).divisor;
    }
    s->factors = factors;
}

/* `count` outputs from the place on. The columns stay from row to row. */
static inline void FN(move_strip)(FN(avg_strip) * s, const place *at, int64_t count, real *factors) {
    const pool *p = &s->a->pool;
    if (s->count != count || s->o != at->o[2]) FN(set_columns)(s, at->o[2], count, factors);
    for (int k = 0; k < 2; k++) s->in[k] = avg_window(s->a, k, at->o[k]);
    s->factor = (real)(s->in[0].divisor * s->in[1].divisor);
    s->x = (const real *)p->x.data + at->n * p->x.stride_n + at->c * p->x.stride_c + (s->base + s->lo) * p->x.stride[2];
}

/* How many outputs' columns a line holds for sure. */
static inline int64_t FN(longest_strip)(const pool *p) { return (SHORT_LINE - p->kernel[2]) / p->step[2] + 1; }

static inline const real *FN(row_of)(const FN(avg_strip) * s, int64_t d, int64_t h) {
    return s->x + d * s->a->pool.x.stride[0] + h * s->a->pool.x.stride[1];
}

/* line = the sum of `count` rows, of which the line itself may be one. */
static inline ALWAYS_INLINE void FN(add_rows)(real *line, const real *const *rows, const int count, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vec sum = vload(rows[0] + i);
        for (int k = 1; k < count; k++) sum = vadd(sum, vload(rows[k] + i));
        vstore(line + i, sum);
    }
    if (i == n) return;
    vmask mask = vlanes(0, (int)(n - i));
    vec sum = vload_masked(rows[0] + i, mask);
    for (int k = 1; k < count; k++) sum = vadd(sum, vload_masked(rows[k] + i, mask));
    vstore(line + i, sum);
}

static inline ALWAYS_INLINE void FN(add_row)(real *line, const real *row, const int64_t stride, int64_t n, int first,
                                             int square) {
    for (int64_t i = 0; i < n; i++) {
        real v = row[i * stride];
        v = square ? v * v : v;
        line[i] = first ? v : line[i] + v;
    }
}

/* line = the sum of the rows under the strip; zero in the padding, and from there to `length`. */
static void FN(sum_under)(const FN(avg_strip) * s, int64_t length, real *line) {
    const pool *p = &s->a->pool;
    int64_t n = s->hi - s->lo, stride = p->x.stride[2];
    int first = 1, square = s->a->power == 2, waiting = 0;
    const real *rows[4];
    for (int64_t i = 0; i < s->lo; i++) line[i] = 0;
    for (int64_t d = s->in[0].first; d < s->in[0].end; d++)
        for (int64_t h = s->in[1].first; h < s->in[1].end; h++) {
            const real *row = FN(row_of)(s, d, h);
            FN(prefetch_row)(row + p->step[1] * p->x.stride[1], n); /* of the strip below */
            if (square || stride != 1) {
                if (stride == 1) FN(add_row)(line + s->lo, row, 1, n, first, 1);
                else FN(add_row)(line + s->lo, row, stride, n, first, square);
                first = 0;
                continue;
            }
            rows[waiting++] = row;
            if (waiting < 4) continue;
            FN(add_rows)(line + s->lo, rows, 4, n);
            rows[0] = line + s->lo;
            waiting = 1;
            first = 0;
        }
    if (waiting == 3) FN(add_rows)(line + s->lo, rows, 3, n);
    else if (waiting == 2) FN(add_rows)(line + s->lo, rows, 2, n);
    else if (waiting == 1 && first) FN(add_rows)(line + s->lo, rows, 1, n);
    for (int64_t i = s->hi; i < length; i++) line[i] = 0; /* whole vectors were written before it */
}

/* y = the averages of n windows of the line, of `kernel` columns each, that begin `step` apart. */
static inline ALWAYS_INLINE void FN(average_windows_of)(const avg_pool *a, const real *line, const real *divisors,
                                                        const int64_t step, const int64_t kernel, real *y, int64_t n) {
    int64_t y_step = a->pool.y.stride[2];
    for (int64_t i = 0; i < n; i += VL) {
        int64_t lanes = min_i64(VL, n - i);
        const real *from = line + i * step;
        vec sum = FN(pick)(from, step, lanes);
        for (int64_t t = 1; t < kernel; t++) sum = vadd(sum, FN(pick)(from + t, step, lanes));
        sum = vdiv(sum, vload(divisors + i));
        vstore_step(y + i * y_step, y_step, a->power == 2 ? vsqrt(sum) : sum, (int)lanes);
    }
}

static void FN(average_across)(const avg_pool *a, const real *line, const real *divisors, real *y, int64_t n) {
    int64_t step = a->pool.step[2], kernel = a->pool.kernel[2];
    if (step == 1 && kernel == 3) FN(average_windows_of)(a, line, divisors, 1, 3, y, n);
    else if (step == 1) FN(average_windows_of)(a, line, divisors, 1, kernel, y, n);
    else if (step == 2 && kernel == 2) FN(average_windows_of)(a, line, divisors, 2, 2, y, n);
    else if (step == 2 && kernel == 3) FN(average_windows_of)(a, line, divisors, 2, 3, y, n);
    else if (step == 2) FN(average_windows_of)(a, line, divisors, 2, kernel, y, n);
    else FN(average_windows_of)(a, line, divisors, step, kernel, y, n);
}

static void FN(average_shares)(const FN(avg_strip) * s, const real *line, real *y) {
    const pool *p = &s->a->pool;
    FN(share) share = s->share;
    for (int64_t i = 0; i < s->count; i++, share = FN(next_share)(p, &share, s->whole, s->part)) {
        real sum = 0;
        for (int64_t k = share.start; k < share.end; k++) sum += line[k - s->base];
        y[i * p->y.stride[2]] = sum / (s->factor * s->factors[i]);
    }
}

/* Rows to lines, lines to outputs. Where windows do not overlap and y is dense, the lines of several rows lie so close that their
 * outputs form one line too. */
static void FN(average_rows)(const avg_pool *a, int64_t begin, int64_t end, real *line) {
    const pool *p = &a->pool;
    real *divisors = line + SHORT_LINE + SLACK, *factors = divisors + SHORT_LINE + SLACK;
    int64_t width = p->y.size[2], longest = FN(longest_strip)(p), pitch = width * p->step[2];
    int joined = p->dense && !p->adaptive[2] && p->kernel[2] <= p->step[2] && pitch <= SHORT_LINE;
    FN(avg_strip) s = {.a = a};
    for (place at = pool_place(p, begin); begin < end;) {
        int64_t count = min_i64(min_i64(end - begin, width - at.o[2]), longest), rows = 1;
        if (joined && count == width) rows = min_i64(SHORT_LINE / pitch, (end - begin) / width);
        real *y = (real *)p->y.data + volume_offset(&p->y, &at, at.o);
        for (int64_t r = 0; r < rows; r++) {
            FN(move_strip)(&s, &at, count, factors);
            FN(sum_under)(&s, joined && count == width ? pitch : s.length, line + r * pitch);
            for (int64_t i = 0; i < count; i++) divisors[r * count + i] = s.factor * factors[i];
            if ((at.o[2] += count) == width) pool_next_row(p, &at);
        }
        if (p->adaptive[2]) FN(average_shares)(&s, line, y);
        else FN(average_across)(a, line, divisors, y, rows * count);
        begin += rows * count;
    }
}

/* ---- which of them ---- */

/* Outputs begin..end, in the order of pool_place; of channels c0..c1 where all of them are at one place. */
static void FN(avg_pool)(const avg_pool *a, int64_t begin, int64_t end, int64_t c0, int64_t c1, void *workspace) {
    const pool *p = &a->pool;
    double rows = (double)p->kernel[0] * (double)p->kernel[1], columns = (double)p->kernel[2];
    int simple = a->power == 1 || a->power == 2;
    int alone = is_alone(p), whole = alone && is_whole(p);
    if (simple && p->channels_last && rows * columns <= SHORT) FN(average_pixels)(a, begin, end, c0, c1);
    else if (simple && whole && !p->channels_last && p->pixel_step == 1 && rows * columns <= SHORT / 2 * VL)
        FN(average_planes)(a, begin, end);
    else if (simple && !p->channels_last && !alone && rows + columns <= SHORT && p->step[2] <= SHORT_LINE / 4 / VL)
        FN(average_rows)(a, begin, end, workspace);
    else FN(average_windows)(a, begin, end, c0, c1);
}

/* ---- backward: every output's gradient goes to the elements of its window ---- */

/* What the gradient of a norm is multiplied by for an element; 0 where there is no derivative. */
static inline real FN(norm_slope)(real value, real result, double power) {
    if (result == 0 || (value == 0 && power < 1)) return 0;
    if (power == 2) return value / result;
    return power == 1 ? 1 : (real)pow((double)(value / result), power - 1);
}

/* x[i * step + c * stride_c] += grad[c] over i < n, or = grad[c], whichever is contiguous in the inner loop. */
static inline ALWAYS_INLINE void FN(spread)(real *x, int64_t step, int64_t n, int64_t stride_c, int64_t channels,
                                            const real *grad, const int only) {
    if (stride_c == 1 && channels > 1)
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < channels; c++) x[i * step + c] = only ? grad[c] : x[i * step + c] + grad[c];
    else if (step == 1)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < n; i++) x[i + c * stride_c] = only ? grad[c] : x[i + c * stride_c] + grad[c];
    else
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < n; i++) x[i * step + c * stride_c] = only ? grad[c] : x[i * step + c * stride_c] + grad[c];
}

/* The same for a norm, in row (d, h) of its window. */
static void FN(spread_norm)(const avg_pool *a, const place *at, const int64_t first[3], int64_t n, int64_t channels,
                            const real *grad) {
    const volume *x = &a->pool.x, *v = &a->values;
    real *to = (real *)x->data + volume_offset(x, at, first);
    const real *values = (const real *)v->data + volume_offset(v, at, first);
    const real *results = (const real *)a->results.data + volume_offset(&a->results, at, at->o);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels; c++)
            to[i * x->stride[2] + c * x->stride_c] +=
                grad[c] * FN(norm_slope)(values[i * v->stride[2] + c * v->stride_c], results[c * a->results.stride_c], a->power);
}

/* Of the channels that begin at `at`, at most SHORT_LINE. `only` windows find nothing there yet. */
static void FN(spread_window)(const avg_pool *a, const place *at, int64_t channels, real *grad, int only) {
    const pool *p = &a->pool;
    const real *y = (const real *)p->y.data + volume_offset(&p->y, at, at->o);
    avg_range in[3];
    for (int k = 0; k < 3; k++) in[k] = avg_window(a, k, at->o[k]);
    real divisor = (real)(in[0].divisor * in[1].divisor * in[2].divisor);
    for (int64_t c = 0; c < channels; c++) grad[c] = y[c * p->y.stride_c] / divisor;
    int64_t first[3], count[3];
    for (int k = 0; k < 3; k++) {
        first[k] = in[k].first;
        count[k] = in[k].end - in[k].first;
    }
    int64_t step = a->is_norm ? p->x.stride[2] : whole_to_row(p, count);
    for (int64_t d = 0; d < count[0]; d++)
        for (int64_t h = 0; h < count[1]; h++) {
            const int64_t row[3] = {first[0] + d, first[1] + h, first[2]};
            real *x = (real *)p->x.data + volume_offset(&p->x, at, row);
            if (a->is_norm) FN(spread_norm)(a, at, row, count[2], channels, grad);
            else if (only) FN(spread)(x, step, count[2], p->x.stride_c, channels, grad, 1);
            else FN(spread)(x, step, count[2], p->x.stride_c, channels, grad, 0);
        }
}

/* A norm so small that a gradient over it may be infinite, though one times an element over it is not. */
static inline int FN(is_tiny)(real norm) { return norm < (F64 ? (real)1e-150 : (real)1e-18); }

/* grads[i] = what each element under output i of the strip gets, for a norm of power 1 or 2 before it is multiplied by the element. */
static void FN(divide_grads)(const FN(avg_strip) * s, const place *at, real *grads) {
    const volume *y = &s->a->pool.y, *results = &s->a->results;
    const real *from = (const real *)y->data + volume_offset(y, at, at->o);
    for (int64_t i = 0; i < s->count; i++) grads[i] = from[i * y->stride[2]] / (s->factor * s->factors[i]);
    if (!s->a->is_norm) return;
    const real *result = (const real *)results->data + volume_offset(results, at, at->o);
    int64_t step = results->stride[2];
    for (int64_t i = 0; i < s->count; i++) {
        real norm = result[i * step];
        if (s->a->power == 2) grads[i] = FN(is_tiny)(norm) ? 0 : grads[i] / norm;
        else if (norm == 0) grads[i] = 0;
    }
}

/* What divide_grads leaves out. */
static void FN(spread_tiny)(const FN(avg_strip) * s, const place *at) {
    const volume *results = &s->a->results;
    const real *result = (const real *)results->data + volume_offset(results, at, at->o);
    place one = *at;
    for (int64_t i = 0; i < s->count; i++, one.o[2]++) {
        real norm = result[i * results->stride[2]], grad;
        if (norm > 0 && FN(is_tiny)(norm)) FN(spread_window)(s->a, &one, 1, &grad, 0);
    }
}

/* The gradients of the outputs over a column are added up, for all columns of the strip. Steps are 1 or 2: even and odd columns get
 * gradients side by side. There are `reach` zeros before the gradients, and as many and a vector behind them. */
static inline ALWAYS_INLINE void FN(add_across)(const real *grads, int64_t kernel, const int step, real *line, int64_t length) {
    for (int64_t i = 0; i * step < length; i += VL) {
        vec sum[2] = {vzero(), vzero()};
        for (int64_t t = (kernel - 1) / step; t >= 0; t--) /* the first output first, as where columns are taken one by one */
            for (int k = 0; k < step; k++)
                if (t * step + k < kernel) sum[k] = vadd(sum[k], vload(grads + i - t));
        if (step == 1) vstore(line + i, sum[0]);
        else {
            vstore(line + 2 * i, vzip_low(sum[0], sum[1]));
            vstore(line + 2 * i + VL, vzip_high(sum[0], sum[1]));
        }
    }
}

/* line = an output's gradient added to the columns under it, for all outputs of the strip. */
static void FN(spread_across)(const FN(avg_strip) * s, const place *at, real *line, real *grads) {
    const pool *p = &s->a->pool;
    int64_t step = p->step[2], kernel = p->kernel[2], reach = (kernel - 1) / step;
    if (step <= 2 && !p->adaptive[2] && reach <= VL) {
        for (int64_t i = 0; i < reach; i++) grads[i] = 0;
        grads += reach;
        FN(divide_grads)(s, at, grads);
        for (int64_t i = 0; i < reach + VL; i++) grads[s->count + i] = 0;
        if (step == 1) FN(add_across)(grads, kernel, 1, line, s->length);
        else FN(add_across)(grads, kernel, 2, line, s->length);
        return;
    }
    FN(divide_grads)(s, at, grads);
    FN(share) share = s->share;
    int64_t next = 0, end; /* columns from `next` on have no gradient yet */
    for (int64_t i = 0; i < s->count; i++, next = max_i64(next, end)) {
        int64_t first = p->adaptive[2] ? share.start - s->base : i * step;
        end = p->adaptive[2] ? share.end - s->base : first + kernel;
        for (; next < first; next++) line[next] = 0;
        for (int64_t k = first; k < min_i64(next, end); k++) line[k] += grads[i];
        for (int64_t k = next; k < end; k++) line[k] = grads[i];
        if (p->adaptive[2]) share = FN(next_share)(p, &share, s->whole, s->part);
    }
}

/* Outputs of one row: their line is added to each of the rows that their windows cover; times these rows of `values` for a norm of
 * power 2, whose slope is the value over the norm. */
static void FN(spread_strip)(const FN(avg_strip) * s, const place *at, real *line, real *grads) {
    const pool *p = &s->a->pool;
    const volume *v = &s->a->values;
    int64_t n = s->hi - s->lo, stride = p->x.stride[2];
    int gaps = !p->adaptive[2] && p->step[2] > p->kernel[2];
    FN(spread_across)(s, at, line, grads);
    line += s->lo;
    for (int64_t d = s->in[0].first; d < s->in[0].end; d++)
        for (int64_t h = s->in[1].first; h < s->in[1].end; h++) {
            real *row = (real *)FN(row_of)(s, d, h);
            if (s->a->power == 2) {
                const int64_t first[3] = {d, h, s->base + s->lo};
                const real *value = (const real *)v->data + volume_offset(v, at, first);
                for (int64_t k = 0; k < n; k++) /* between windows there may be infinities, which 0 times would not be 0 */
                    if (!gaps || (s->lo + k) % p->step[2] < p->kernel[2]) row[k * stride] += line[k] * value[k * v->stride[2]];
            } else if (stride == 1)
                for (int64_t k = 0; k < n; k++) row[k] += line[k];
            else
                for (int64_t k = 0; k < n; k++) row[k * stride] += line[k];
        }
}

/* Planes that are one window each, and lie in one piece. */
static void FN(spread_over_planes)(const avg_pool *a, int64_t n, int64_t c0, int64_t c1) {
    const pool *p = &a->pool;
    real divisor = (real)(avg_window(a, 0, 0).divisor * avg_window(a, 1, 0).divisor * avg_window(a, 2, 0).divisor);
    int64_t size = p->x.size[0] * p->x.size[1] * p->x.size[2];
    for (int64_t c = c0; c < c1; c++) {
        real grad = ((const real *)p->y.data)[n * p->y.stride_n + c * p->y.stride_c] / divisor;
        real *x = (real *)p->x.data + n * p->x.stride_n + c * p->x.stride_c;
        int64_t i = 0;
        for (; i + VL <= size; i += VL) vstore(x + i, vset1(grad));
        vstore_first(x + i, vset1(grad), (int)(size - i));
    }
}

/* Channels c0..c1 of image n, in the order of the outputs. */
static void FN(avg_pool_backward)(const avg_pool *a, int64_t n, int64_t c0, int64_t c1, void *workspace) {
    const pool *p = &a->pool;
    real *line = workspace, *factors = line + SHORT_LINE + SLACK, *grads = factors + SHORT_LINE + SLACK;
    int only = is_alone(p) && is_whole(p) && !a->is_norm;
    int simple = a->power == 1 || a->power == 2;
    int in_lines = !p->channels_last && simple && !only && p->kernel[2] <= SHORT_LINE / 2;
    if (only && !p->channels_last && p->pixel_step == 1) {
        FN(spread_over_planes)(a, n, c0, c1);
        return;
    }
    int64_t together = p->channels_last ? min_i64(c1 - c0, SHORT_LINE) : 1, longest = in_lines ? FN(longest_strip)(p) : 1;
    for (int64_t c = c0, channels; c < c1; c += channels) {
        FN(avg_strip) s = {.a = a};
        place at = {.n = n, .c = c};
        channels = min_i64(together, c1 - c);
        if (!only) FN(clear_channels)(p, n, c, channels, 0, p->x.size[0] * p->x.size[1] * p->x.size[2]);
        for (;;) {
            int64_t count = min_i64(p->y.size[2] - at.o[2], longest);
            if (in_lines) {
                FN(move_strip)(&s, &at, count, factors);
                FN(spread_strip)(&s, &at, line, grads);
                if (a->is_norm && a->power == 2) FN(spread_tiny)(&s, &at);
            } else FN(spread_window)(a, &at, channels, line, only);
            if ((at.o[2] += count) < p->y.size[2]) continue;
            at.o[2] = 0;
            if (++at.o[1] < p->y.size[1]) continue;
            at.o[1] = 0;
            if (++at.o[0] == p->y.size[0]) break;
        }
    }
}
