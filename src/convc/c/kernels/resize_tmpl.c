/* Resizing: rows of y from rows of x that are first stretched to y's width, and the same backwards. A stretched row serves all rows of y
 * beside it. */

#undef RESIZE_WORKSPACE
#define RESIZE_WORKSPACE sizeof(FN(resize_lines))

/* A block of columns: the taps as offsets in a row of x, their weights, and stretched rows, each with the number of the row that it is. */
typedef struct FN(resize_lines) {
    int64_t low[RESIZE_ROW], high[RESIZE_ROW], number[4];
    real near[RESIZE_ROW], far[RESIZE_ROW], row[4][RESIZE_ROW], sum[RESIZE_ROW];
} FN(resize_lines);

static void FN(load_columns)(const resize *r, int64_t first, int64_t count, FN(resize_lines) * l) {
    for (int64_t j = 0; j < count; j++) {
        tap_pair t = resize_taps(&r->axis[2], first + j);
        l->low[j] = t.low * r->x.stride[2];
        l->high[j] = t.high * r->x.stride[2];
        l->near[j] = (real)(1 - t.weight);
        l->far[j] = (real)t.weight;
    }
    for (int i = 0; i < 4; i++) l->number[i] = -1;
}

/* to[i] = the sum of weight[k] * from[k][i] over k < count */
static inline ALWAYS_INLINE void FN(weigh)(const real *const from[], const real *weight, const int count, real *to, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vec sum = vmul(vload(from[0] + i), vset1(weight[0]));
        for (int k = 1; k < count; k++) sum = vfma(vload(from[k] + i), vset1(weight[k]), sum);
        vstore(to + i, sum);
    }
    if (i == n) return;
    vmask rest = vlanes(0, (int)(n - i));
    vec sum = vmul(vload_masked(from[0] + i, rest), vset1(weight[0]));
    for (int k = 1; k < count; k++) sum = vfma(vload_masked(from[k] + i, rest), vset1(weight[k]), sum);
    vstore_first(to + i, sum, (int)(n - i));
}

/* Rows that are weighed and summed: stretched rows of x forward, rows of y backward. */
typedef struct FN(resize_sources) {
    int count;
    const real *from[4];
    real weight[4];
} FN(resize_sources);

static void FN(weigh_sources)(const FN(resize_sources) * s, real *to, int64_t n) {
    switch (s->count) {
    case 1:
        if (s->weight[0] == 1) memmove(to, s->from[0], (size_t)n * sizeof *to);
        else FN(weigh)(s->from, s->weight, 1, to, n);
        break;
    case 2: FN(weigh)(s->from, s->weight, 2, to, n); break;
    case 3: FN(weigh)(s->from, s->weight, 3, to, n); break;
    default: FN(weigh)(s->from, s->weight, 4, to, n); break;
    }
}

/* to[i] += weight * from[i] */
static inline void FN(add_weighed)(const real *from, real weight, real *to, int64_t n) {
    const real weights[2] = {1, weight};
    FN(weigh)((const real *const[]){to, from}, weights, 2, to, n);
}

/* ---- columns forward ---- */

/* Columns j..end of a stretched row. A weight of 0 must not make an infinity NaN. */
static inline void FN(stretch_some)(const FN(resize_lines) * l, const real *x, int64_t j, int64_t end, real *to) {
    for (; j < end; j++) {
        real low = x[l->low[j]], between = low * l->near[j] + x[l->high[j]] * l->far[j];
        to[j] = l->far[j] == 0 ? low : between;
    }
}

/* Elements i .. i + VL of x, twice each; or between neighbours, which columns 2 and 3 show the weights of. */
static inline ALWAYS_INLINE void FN(double_some)(const FN(resize_lines) * l, const real *x, int64_t i, const int linear,
                                                 real *to) {
    vec here = vload(x + i), even = here, odd = here;
    if (linear) {
        even = vadd(vmul(vload(x + i - 1), vset1(l->near[2])), vmul(here, vset1(l->far[2])));
        odd = vadd(vmul(here, vset1(l->near[3])), vmul(vload(x + i + 1), vset1(l->far[3])));
    }
    vstore(to + 2 * i, vzip_low(even, odd));
    vstore(to + 2 * i + VL, vzip_high(even, odd));
}

/* A whole row to twice its length; the last vector overlaps the one before it. */
static inline ALWAYS_INLINE void FN(double_row)(const FN(resize_lines) * l, const real *x, int64_t n, const int linear,
                                                real *to) {
    int64_t first = linear, end = n - linear; /* with both neighbours */
    if (end - first < VL) {
        FN(stretch_some)(l, x, 0, 2 * n, to);
        return;
    }
    FN(stretch_some)(l, x, 0, 2 * first, to);
    for (int64_t i = first; i < end; i += VL) FN(double_some)(l, x, min_i64(i, end - VL), linear, to);
    FN(stretch_some)(l, x, 2 * end, 2 * n, to);
}

/* A row of x at the block's columns. */
static void FN(stretch)(const resize *r, const FN(resize_lines) * l, const real *x, int64_t count, int64_t channels, real *to) {
    int linear = r->axis[2].rule >= RESIZE_HALF;
    if (resize_is_twofold(r)) {
        if (linear) FN(double_row)(l, x, count / 2, 1, to);
        else FN(double_row)(l, x, count / 2, 0, to);
        return;
    }
    if (channels == 1 && linear) FN(stretch_some)(l, x, 0, count, to);
    else if (channels == 1)
        for (int64_t j = 0; j < count; j++) to[j] = x[l->low[j]];
    for (int64_t j = 0; j < count && channels > 1; j++, to += channels) {
        const real *const from[2] = {x + l->low[j], x + l->high[j]}, weights[2] = {l->near[j], l->far[j]};
        if (l->far[j] == 0) memcpy(to, from[0], (size_t)channels * sizeof *to);
        else FN(weigh)(from, weights, 2, to, channels);
    }
}

/* The stretched rows that a row of y is computed from: 1, 2 or 4, those of weight 0 left out. */
static FN(resize_sources)
    FN(sources_of)(const resize *r, const resize_place *at, int64_t count, int64_t channels, FN(resize_lines) * l) {
    FN(resize_sources) s = {0};
    tap_pair d = resize_taps(&r->axis[0], at->d), h = resize_taps(&r->axis[1], at->h);
    for (int k = 0; k < 4; k++) {
        double part = (k / 2 ? d.weight : 1 - d.weight) * (k % 2 ? h.weight : 1 - h.weight);
        int64_t in_d = k / 2 ? d.high : d.low, in_h = k % 2 ? h.high : h.low;
        if (part == 0) continue;
        /* Neighbours differ in parity: no two of these rows want one place. */
        int64_t slot = in_d % 2 * 2 + in_h % 2;
        int64_t number = ((at->n * r->groups + at->group) * r->x.size[0] + in_d) * r->x.size[1] + in_h;
        if (l->number[slot] != number)
            FN(stretch)(r, l, (const real *)r->x.data + resize_offset(r, &r->x, at->n, at->group, in_d, in_h), count, channels,
                        l->row[slot]);
        l->number[slot] = number;
        s.from[s.count] = l->row[slot];
        s.weight[s.count++] = (real)part;
    }
    return s;
}

/* Rows begin..end of y, in the order of resize_row */
static void FN(resize_rows)(const resize *r, int64_t begin, int64_t end, void *workspace) {
    FN(resize_lines) *l = workspace;
    const volume *y = &r->y;
    int64_t step = y->stride[2];
    for (int64_t first = 0; first < y->size[2]; first += r->columns) {
        int64_t count = min_i64(r->columns, y->size[2] - first);
        FN(load_columns)(r, first, count, l);
        for (int64_t i = begin; i < end; i++) {
            resize_place at = resize_row(r, y, i);
            int64_t channels = min_i64(r->channels, y->c - at.group * r->channels), n = count * channels;
            FN(resize_sources) s = FN(sources_of)(r, &at, count, channels, l);
            real *to = (real *)y->data + resize_offset(r, y, at.n, at.group, at.d, at.h) + first * step;
            real *sum = step == channels ? to : l->sum;
            FN(weigh_sources)(&s, sum, n);
            for (int64_t j = 0; j < count && sum != to; j++)
                for (int64_t c = 0; c < channels; c++) to[j * step + c] = sum[j * channels + c];
        }
    }
}

/* ---- columns backward ---- */

/* l->sum = the gradients of all rows of y, at the block's columns, that row (d, h) of x is a source of, as far as it is */
static void FN(gather_rows)(const resize *r, const resize_place *at, int64_t first, int64_t count, int64_t channels,
                            FN(resize_lines) * l) {
    const volume *y = &r->y;
    FN(resize_sources) s = {0};
    int64_t d_end = resize_first(&r->axis[0], at->d + 1), h_end = resize_first(&r->axis[1], at->h + 1), step = y->stride[2];
    int64_t h_begin = resize_first(&r->axis[1], at->h - 1), n = count * channels;
    for (int64_t d = resize_first(&r->axis[0], at->d - 1); d < d_end; d++) {
        tap_pair td = resize_taps(&r->axis[0], d);
        double part_d = td.low == at->d ? 1 - td.weight : td.high == at->d ? td.weight : 0;
        for (int64_t h = h_begin; h < h_end && part_d > 0; h++) {
            tap_pair th = resize_taps(&r->axis[1], h);
            double part = part_d * (th.low == at->h ? 1 - th.weight : th.high == at->h ? th.weight : 0);
            const real *from = (const real *)y->data + resize_offset(r, y, at->n, at->group, d, h) + first * step;
            if (part == 0) continue;
            if (s.count == 4) {
                FN(weigh_sources)(&s, l->sum, n);
                s = (FN(resize_sources)){.count = 1, .from = {l->sum}, .weight = {1}};
            }
            if (step != channels) {
                for (int64_t j = 0; j < count; j++)
                    for (int64_t c = 0; c < channels; c++) l->row[s.count][j * channels + c] = from[j * step + c];
                from = l->row[s.count];
            }
            s.from[s.count] = from;
            s.weight[s.count++] = (real)part;
        }
    }
    if (s.count) FN(weigh_sources)(&s, l->sum, n);
    else memset(l->sum, 0, (size_t)n * sizeof *l->sum);
}

/* Adds columns j..end of a sum to the elements of a row of x that they came from. */
static void FN(shrink)(const FN(resize_lines) * l, int64_t j, int64_t end, int64_t channels, real *x) {
    const real *sum = l->sum + j * channels;
    for (; j < end; j++, sum += channels) {
        if (channels > 1) FN(add_weighed)(sum, l->near[j], x + l->low[j], channels);
        else x[l->low[j]] += *sum * l->near[j];
        if (l->far[j] == 0) continue;
        if (channels > 1) FN(add_weighed)(sum, l->far[j], x + l->high[j], channels);
        else x[l->high[j]] += *sum * l->far[j];
    }
}

/* The reverse of double_row: elements first..end of x are set from the columns of both and, if linear, of their neighbours. */
static inline ALWAYS_INLINE void FN(halve_row)(const FN(resize_lines) * l, int64_t first, int64_t end, const int linear,
                                               real *x) {
    for (int64_t next = first; next < end; next += VL) {
        int64_t i = min_i64(next, end - VL);
        vec even = vload_step(l->sum + 2 * i, 2), odd = vload_step(l->sum + 2 * i + 1, 2), sum;
        if (linear) {
            vec before = vload_step(l->sum + 2 * i - 1, 2), after = vload_step(l->sum + 2 * i + 2, 2);
            sum = vfma(odd, vset1(l->near[3]), vmul(even, vset1(l->far[2])));
            sum = vfma(after, vset1(l->near[2]), vfma(before, vset1(l->far[3]), sum));
        } else sum = vadd(even, odd);
        vstore(x + i, sum);
    }
}

static void FN(shrink_row)(const resize *r, const FN(resize_lines) * l, int64_t count, int64_t channels, real *x) {
    int linear = r->axis[2].rule >= RESIZE_HALF;
    int64_t n = r->axis[2].in;
    if (!resize_is_twofold(r) || n < VL + 4) {
        FN(shrink)(l, 0, count, channels, x);
    } else if (linear) {
        FN(shrink)(l, 0, 4, 1, x); /* for the first element and the last; what others get here is replaced */
        FN(shrink)(l, count - 4, count, 1, x);
        FN(halve_row)(l, 1, n - 1, 1, x);
    } else FN(halve_row)(l, 0, n, 0, x);
}

/* Rows begin..end of the gradient of x, in the order of resize_row */
static void FN(resize_rows_backward)(const resize *r, int64_t begin, int64_t end, void *workspace) {
    FN(resize_lines) *l = workspace;
    const volume *x = &r->x;
    for (int64_t first = 0; first < r->y.size[2]; first += r->columns) {
        int64_t count = min_i64(r->columns, r->y.size[2] - first);
        FN(load_columns)(r, first, count, l);
        for (int64_t i = begin; i < end; i++) {
            resize_place at = resize_row(r, x, i);
            int64_t channels = min_i64(r->channels, x->c - at.group * r->channels);
            real *row = (real *)x->data + resize_offset(r, x, at.n, at.group, at.d, at.h);
            if (first == 0 && x->stride[2] == channels) FN(zero_run)(row, x->size[2] * channels);
            else
                for (int64_t j = 0; j < x->size[2] && first == 0; j++) FN(zero_run)(row + j * x->stride[2], channels);
            FN(gather_rows)(r, &at, first, count, channels, l);
            FN(shrink_row)(r, l, count, channels, row);
        }
    }
}
