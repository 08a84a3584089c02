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

/* to[i] += weight * from[i] */
static inline void FN(add_weighed)(const real *from, real weight, real *to, int64_t n) {
    const real weights[2] = {1, weight};
    FN(weigh)((const real *const[]){to, from}, weights, 2, to, n);
}

/* A row of x at the block's columns. A weight of 0 must not make an infinity NaN. */
static void FN(stretch)(const FN(resize_lines) * l, const real *x, int64_t count, int64_t channels, real *to) {
    if (channels == 1) {
        for (int64_t j = 0; j < count; j++) {
            real low = x[l->low[j]], between = low * l->near[j] + x[l->high[j]] * l->far[j];
            to[j] = l->far[j] == 0 ? low : between;
        }
        return;
    }
    for (int64_t j = 0; j < count; j++, to += channels) {
        const real *const from[2] = {x + l->low[j], x + l->high[j]}, weights[2] = {l->near[j], l->far[j]};
        if (l->far[j] == 0) memcpy(to, from[0], (size_t)channels * sizeof *to);
        else FN(weigh)(from, weights, 2, to, channels);
    }
}

typedef struct FN(resize_sources) {
    int count;
    const real *from[4];
    real weight[4];
} FN(resize_sources);

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
            FN(stretch)(l, (const real *)r->x.data + resize_offset(r, &r->x, at->n, at->group, in_d, in_h), count, channels,
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
            if (s.count == 1) memcpy(sum, s.from[0], (size_t)n * sizeof *sum);
            else if (s.count == 2) FN(weigh)(s.from, s.weight, 2, sum, n);
            else FN(weigh)(s.from, s.weight, 4, sum, n);
            for (int64_t j = 0; j < count && sum != to; j++)
                for (int64_t c = 0; c < channels; c++) to[j * step + c] = sum[j * channels + c];
        }
    }
}

/* l->sum = the gradients of all rows of y, at the block's columns, that row (d, h) of x is a source of, as far as it is */
static void FN(gather_rows)(const resize *r, const resize_place *at, int64_t first, int64_t count, int64_t channels,
                            FN(resize_lines) * l) {
    const volume *y = &r->y;
    int64_t d_end = resize_first(&r->axis[0], at->d + 1), h_end = resize_first(&r->axis[1], at->h + 1), step = y->stride[2];
    int64_t h_begin = resize_first(&r->axis[1], at->h - 1);
    memset(l->sum, 0, (size_t)(count * channels) * sizeof *l->sum);
    for (int64_t d = resize_first(&r->axis[0], at->d - 1); d < d_end; d++) {
        tap_pair td = resize_taps(&r->axis[0], d);
        double part_d = td.low == at->d ? 1 - td.weight : td.high == at->d ? td.weight : 0;
        for (int64_t h = h_begin; h < h_end && part_d > 0; h++) {
            tap_pair th = resize_taps(&r->axis[1], h);
            double part = part_d * (th.low == at->h ? 1 - th.weight : th.high == at->h ? th.weight : 0);
            const real *from = (const real *)y->data + resize_offset(r, y, at->n, at->group, d, h) + first * step;
            if (part == 0) continue;
            if (step != channels) {
                for (int64_t j = 0; j < count; j++)
                    for (int64_t c = 0; c < channels; c++) l->row[0][j * channels + c] = from[j * step + c];
                from = l->row[0];
            }
            FN(add_weighed)(from, (real)part, l->sum, count * channels);
        }
    }
}

/* Adds the columns of a sum to the elements of a row of x that they came from. */
static void FN(shrink)(const FN(resize_lines) * l, int64_t count, int64_t channels, real *x) {
    const real *sum = l->sum;
    for (int64_t j = 0; j < count; j++, sum += channels) {
        if (channels > 1) FN(add_weighed)(sum, l->near[j], x + l->low[j], channels);
        else x[l->low[j]] += *sum * l->near[j];
        if (l->far[j] == 0) continue;
        if (channels > 1) FN(add_weighed)(sum, l->far[j], x + l->high[j], channels);
        else x[l->high[j]] += *sum * l->far[j];
    }
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
            for (int64_t j = 0; j < x->size[2] && first == 0; j++)
                for (int64_t c = 0; c < channels; c++) row[j * x->stride[2] + c] = 0;
            FN(gather_rows)(r, &at, first, count, channels, l);
            FN(shrink)(l, count, channels, row);
        }
    }
}
