/* Batch and group normalisation. Both have one form: every channel of every image, or of all images at once, is a row with its sums;
 * the sums of one or several channels make a set with a mean; and every row is mapped by numbers of its own. */
#include <math.h>
#include <string.h>

#include "lines.h"
#include "norm.h"

#define NORM_FLOPS 6.0 /* what an element costs, in flops: it is the memory that is busy */
#define GROUP 64 /* channels at most that a task takes */
#define PARTS 64 /* of a row's pixels at most */
#define TASK_ELEMENTS 16384

/* ---- passes over all elements of up to three tensors ---- */

typedef struct pass {
    lines pixels; /* of the first row */
    int64_t outer, channels, stride_o[3], stride_c[3]; /* rows; bytes */
    int64_t group, groups, parts; /* the channels of a task; of the pixels */
    const void *coefs; /* (outer, NORM_COEFS, channels), as the kernels want them */
    void *sums; /* (parts, outer, channels) moments or pairs of sums */
    int64_t coefs_size, sums_size; /* bytes of one */
    void (*kernel)(const norm_block *b, const void *coefs, int64_t ld, void *sums);
} pass;

/* A row is a channel of one image, or else of all. The first tensor's memory decides the order. */
static pass pass_over(int each_image, int tensors, const convc_tensor *a, const convc_tensor *b, const convc_tensor *c) {
    const convc_tensor *const given[3] = {a, b, c};
    convc_tensor rows[3];
    pass p = {.outer = each_image ? a->shape[0] : 1, .channels = a->shape[1]};
    int across = p.channels > 1;
    for (int t = 0; t < tensors; t++) {
        rows[t] = convc_without_axis(given[t], 1);
        if (each_image) rows[t].shape[0] = 1;
        p.stride_o[t] = given[t]->strides[0];
        p.stride_c[t] = given[t]->strides[1];
        across &= element_stride(given[t], 1) == 1;
    }
    p.pixels = convc_lines_of(tensors, &rows[0], &rows[1], &rows[2]);
    p.coefs_size = convc_itemsize(a->dtype);
    int64_t pixels = convc_size(&rows[0]), tasks = ceil_div(convc_size(a), TASK_ELEMENTS);
    p.group = min_i64(p.channels, across ? GROUP : max_i64(1, min_i64(GROUP, TASK_ELEMENTS / pixels)));
    p.groups = ceil_div(p.channels, p.group);
    p.parts = max_i64(1, min_i64(PARTS, tasks / (p.outer * p.groups)));
    p.pixels.pieces = max_i64(p.pixels.pieces, min_i64(p.pixels.length, ceil_div(p.parts, p.pixels.count)));
    p.parts = min_i64(p.parts, lines_pieces(&p.pixels));
    return p;
}

static void pass_task(const void *context, int64_t task, void *workspace) {
    const pass *p = context;
    int64_t part = task % p->parts, first = task / p->parts % p->groups * p->group, o = task / p->parts / p->groups;
    int64_t pieces = lines_pieces(&p->pixels), end = split_point(pieces, p->parts, part + 1);
    const char *coefs = (const char *)p->coefs + (o * NORM_COEFS * p->channels + first) * p->coefs_size;
    char *sums = (char *)p->sums + ((part * p->outer + o) * p->channels + first) * p->sums_size;
    norm_block b = {.channels = min_i64(p->group, p->channels - first)};
    (void)workspace;
    for (int t = 0; t < p->pixels.tensors; t++) {
        b.step[t] = p->pixels.step[t];
        b.stride_c[t] = p->stride_c[t] / p->pixels.item[t];
    }
    for (int64_t i = split_point(pieces, p->parts, part); i < end; i++) {
        line_piece at = lines_piece(&p->pixels, i);
        b.n = at.count;
        for (int t = 0; t < p->pixels.tensors; t++) b.data[t] = (char *)at.data[t] + o * p->stride_o[t] + first * p->stride_c[t];
        p->kernel(&b, p->coefs ? coefs : NULL, p->channels, p->sums ? sums : NULL);
    }
}

static convc_status pass_run(const pass *p) {
    double elements = (double)p->pixels.count * (double)p->pixels.length * (double)p->channels * (double)p->outer;
    return convc_parallel(pass_task, p, p->outer * p->groups * p->parts, NORM_FLOPS * elements, 0);
}

/* ---- what both directions know ---- */

typedef struct norm {
    const convc_tensor *x;
    int each_image;
    int64_t outer, channels, sets, set; /* `set` channels share a mean; there are `sets` in a row of channels */
    double count; /* of numbers in a set */
    double *mean, *inv_std, *var; /* (outer, sets) */
    double *weight, *bias; /* (channels) */
    void *coefs; /* (outer, NORM_COEFS, channels) of x's dtype */
    double *sums; /* zeros at first */
    convc_loan loan;
} norm;

static norm norm_of(const convc_tensor *x, int each_image, int64_t set) {
    norm n = {.x = x, .each_image = each_image, .channels = x->shape[1], .sets = x->shape[1] / set, .set = set};
    n.outer = each_image ? x->shape[0] : 1;
    n.count = (double)convc_size(x) / (double)n.channels / (double)n.outer * (double)set;
    return n;
}

static double number_at(const convc_tensor *t, int64_t i, double otherwise) {
    if (!t) return otherwise;
    const char *at = (const char *)t->data + i * t->strides[0];
    return t->dtype == CONVC_F32 ? (double)*(const float *)at : *(const double *)at;
}

/* Memory for all that it points to, with `sums` doubles for each row. It is to be returned. */
static convc_status borrow(norm *n, int64_t sums, const convc_tensor *weight, const convc_tensor *bias) {
    int64_t rows = convc_times(n->outer, n->channels);
    int64_t all = convc_times(convc_times(rows, sums + 5 + NORM_COEFS), (int64_t)sizeof(double));
    n->sums = all < 0 ? NULL : convc_borrow(CONVC_SCRATCH, (size_t)all, &n->loan);
    if (!n->sums) return convc_fail(CONVC_NO_MEMORY, "no memory for the sums of %lld channels", (long long)rows);
    memset(n->sums, 0, (size_t)(sums * rows) * sizeof(double));
    n->mean = n->sums + sums * rows;
    n->inv_std = n->mean + rows;
    n->var = n->inv_std + rows;
    n->weight = n->var + rows;
    n->bias = n->weight + rows;
    n->coefs = n->bias + rows;
    for (int64_t c = 0; c < n->channels; c++) {
        n->weight[c] = number_at(weight, c, 1);
        n->bias[c] = number_at(bias, c, 0);
    }
    return CONVC_OK;
}

/* Set s of row o of the mean or of 1 / the standard deviation that a caller keeps. */
static double *kept_at(const convc_tensor *t, int64_t o, int64_t s) {
    char *at = t->data;
    return (double *)(t->ndim == 2 ? at + o * t->strides[0] + s * t->strides[1] : at + s * t->strides[0]);
}

/* The mean as the kernels subtract it; what rounding takes from it, the shift makes good. */
static double center_of(const norm *n, double mean) { return n->x->dtype == CONVC_F32 ? (double)(float)mean : mean; }

static void set_coefs(const norm *n, int64_t o, int64_t c, double center, double scale, double shift, double grad_scale) {
    const double values[NORM_COEFS] = {center, scale, shift, grad_scale};
    int64_t at = o * NORM_COEFS * n->channels + c;
    for (int i = 0; i < NORM_COEFS; i++, at += n->channels) {
        if (n->x->dtype == CONVC_F32) ((float *)n->coefs)[at] = (float)values[i];
        else ((double *)n->coefs)[at] = values[i];
    }
}

static convc_status run(const norm *n, pass *p, void *sums, int64_t sums_size,
                        void (*kernel)(const norm_block *, const void *, int64_t, void *)) {
    p->coefs = n->coefs;
    p->sums = sums;
    p->sums_size = sums_size;
    p->kernel = kernel;
    return pass_run(p);
}

/* ---- forward ---- */

static convc_status measure(norm *n, pass *p) {
    const moments *m = (const moments *)n->sums;
    TRY(run(n, p, n->sums, sizeof *m, convc_kernels_for(n->x->dtype)->norm_moments));
    int64_t rows = n->outer * n->channels;
    for (int64_t i = 0; i < n->outer * n->sets; i++) {
        moments all = {0};
        for (int64_t row = i * n->set; row < (i + 1) * n->set; row++)
            for (int64_t part = 0; part < p->parts; part++)
                moments_add(&all, m[part * rows + row].count, m[part * rows + row].mean, m[part * rows + row].m2);
        n->mean[i] = all.mean;
        n->var[i] = (all.m2 < 0 ? 0 : all.m2) / all.count;
    }
    return CONVC_OK;
}

static convc_status normalise(norm *n, double eps, const convc_tensor *y, const convc_tensor *mean, const convc_tensor *inv_std) {
    for (int64_t i = 0; i < n->outer * n->sets; i++) {
        int64_t o = i / n->sets, s = i % n->sets;
        double inv = 1 / sqrt(n->var[i] + eps), center = center_of(n, n->mean[i]);
        if (mean) *kept_at(mean, o, s) = n->mean[i];
        if (inv_std) *kept_at(inv_std, o, s) = inv;
        for (int64_t c = s * n->set; c < (s + 1) * n->set; c++) {
            double scale = inv * n->weight[c];
            set_coefs(n, o, c, center, scale, n->bias[c] + (center - n->mean[i]) * scale, 0);
        }
    }
    pass p = pass_over(n->each_image, 2, n->x, y, NULL);
    return run(n, &p, NULL, 0, convc_kernels_for(n->x->dtype)->norm_map);
}

/* ---- backward ---- */

/* Turns the sums of g and of g * (x - center) of each row into those of g and of g * (x - mean) * inv_std. */
static void finish_sums(const norm *n, int64_t parts) {
    int64_t rows = n->outer * n->channels;
    for (int64_t row = 0; row < rows; row++) {
        double *sum = n->sums + 2 * row, mean = n->mean[row / n->set];
        for (int64_t part = 1; part < parts; part++) {
            sum[0] += n->sums[2 * (part * rows + row)];
            sum[1] += n->sums[2 * (part * rows + row) + 1];
        }
        sum[1] = n->inv_std[row / n->set] * (sum[1] + (center_of(n, mean) - mean) * sum[0]);
    }
}

/* grad_x = (weight * g - (mean of weight * g) - normal * (mean of weight * g * normal)) * inv_std; without training only the first
 * of the three. */
static void differentiate(const norm *n, int training) {
    for (int64_t i = 0; i < n->outer * n->sets; i++) {
        int64_t o = i / n->sets, first = i % n->sets * n->set;
        const double *sum = n->sums + 2 * i * n->set;
        double inv = n->inv_std[i], center = center_of(n, n->mean[i]), off = (center - n->mean[i]) * inv, g = 0, product = 0;
        for (int64_t c = 0; c < n->set; c++) {
            g += n->weight[first + c] * sum[2 * c];
            product += n->weight[first + c] * sum[2 * c + 1];
        }
        g /= n->count;
        product /= n->count;
        for (int64_t c = first; c < first + n->set; c++) {
            if (training) set_coefs(n, o, c, center, -inv * inv * product, -inv * (g + off * product), inv * n->weight[c]);
            else set_coefs(n, o, c, 0, inv * n->weight[c], 0, 0);
        }
    }
}

static void store_sums(const norm *n, const convc_tensor *grad_w, const convc_tensor *grad_b) {
    for (int64_t c = 0; c < n->channels; c++) {
        double g = 0, product = 0;
        for (int64_t o = 0; o < n->outer; o++) {
            g += n->sums[2 * (o * n->channels + c)];
            product += n->sums[2 * (o * n->channels + c) + 1];
        }
        if (grad_w) convc_set_number(grad_w, c, product);
        if (grad_b) convc_set_number(grad_b, c, g);
    }
}

static convc_status backward(norm *n, const convc_tensor *grad_y, const convc_tensor *weight, const convc_tensor *mean,
                             const convc_tensor *inv_std, int training, const convc_tensor *grad_x, const convc_tensor *grad_w,
                             const convc_tensor *grad_b) {
    if (convc_size(n->x) == 0) {
        if (grad_w) TRY(convc_fill_zero(grad_w));
        return grad_b ? convc_fill_zero(grad_b) : CONVC_OK;
    }
    const convc_kernels *kernels = convc_kernels_for(n->x->dtype);
    pass p = pass_over(n->each_image, 2, n->x, grad_y, NULL);
    TRY(borrow(n, 2 * p.parts, weight, NULL));
    for (int64_t i = 0; i < n->outer * n->sets; i++) {
        int64_t o = i / n->sets, s = i % n->sets;
        n->mean[i] = *kept_at(mean, o, s);
        n->inv_std[i] = *kept_at(inv_std, o, s);
        for (int64_t c = s * n->set; c < (s + 1) * n->set; c++) set_coefs(n, o, c, center_of(n, n->mean[i]), 0, 0, 0);
    }
    convc_status status = CONVC_OK;
    if (training || grad_w || grad_b) status = run(n, &p, n->sums, 2 * sizeof *n->sums, kernels->norm_sums);
    finish_sums(n, p.parts);
    if (status == CONVC_OK && grad_x) {
        differentiate(n, training);
        pass map =
            training ? pass_over(n->each_image, 3, n->x, grad_x, grad_y) : pass_over(n->each_image, 2, grad_y, grad_x, NULL);
        status = run(n, &map, NULL, 0, kernels->norm_map);
    }
    if (status == CONVC_OK) store_sums(n, grad_w, grad_b);
    convc_return(CONVC_SCRATCH, &n->loan);
    return status;
}

/* ---- checks ---- */

convc_status convc_norm_check_vector(const convc_tensor *t, const char *name, int64_t size, const convc_tensor *x) {
    if (!t) return CONVC_OK;
    TRY(convc_check_tensor(t, name, 1, 1));
    TRY(convc_check_shape(t, name, &size, 1));
    return convc_check_dtype(t, name, x, "x");
}

convc_status convc_norm_check_kept(const convc_tensor *mean, const convc_tensor *inv_std, const int64_t *shape, int ndim) {
    const norm_array kept[2] = {{mean, "mean"}, {inv_std, "inv_std"}};
    for (int i = 0; i < 2; i++) {
        if (!kept[i].tensor) continue;
        TRY(convc_check_tensor(kept[i].tensor, kept[i].name, ndim, ndim));
        if (kept[i].tensor->dtype != CONVC_F64) return convc_fail(CONVC_INVALID_TYPE, "%s must be float64", kept[i].name);
        TRY(convc_check_shape(kept[i].tensor, kept[i].name, shape, ndim));
    }
    return CONVC_OK;
}

convc_status convc_norm_check_eps(double eps) {
    return eps >= 0 ? CONVC_OK : convc_fail(CONVC_INVALID_VALUE, "eps must be at least 0, got %g", eps);
}

convc_status convc_norm_check_outputs(const norm_array all[NORM_ARRAYS], int outs) {
    for (int i = 0; i < outs; i++) {
        if (!all[i].tensor) continue;
        TRY(convc_check_output(all[i].tensor, all[i].name, 0, CONVC_MAX_NDIM));
        for (int k = i + 1; k < NORM_ARRAYS; k++)
            TRY(convc_check_disjoint(all[i].tensor, all[i].name, all[k].tensor, all[k].name));
    }
    return CONVC_OK;
}

static convc_status check_images(const convc_tensor *x) { return convc_check_tensor(x, "x", 2, CONVC_MAX_NDIM); }

static convc_status check_groups(const convc_tensor *x, int64_t groups) {
    if (groups < 1) return convc_fail(CONVC_INVALID_VALUE, "num_groups must be at least 1, got %lld", (long long)groups);
    if (x->shape[1] % groups)
        return convc_fail(CONVC_INVALID_VALUE, "num_groups %lld must divide the %lld channels of x", (long long)groups,
                          (long long)x->shape[1]);
    return CONVC_OK;
}

static convc_status check_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                   const convc_tensor *mean, const convc_tensor *inv_std, const int64_t *kept, int kept_ndim,
                                   const convc_tensor *grad_x, const convc_tensor *grad_w, const convc_tensor *grad_b) {
    TRY(convc_check_like(grad_y, "grad", x, "x"));
    TRY(convc_norm_check_vector(weight, "weight", x->shape[1], x));
    if (!mean || !inv_std) return convc_fail(CONVC_INVALID_VALUE, "%s is missing", mean ? "inv_std" : "mean");
    TRY(convc_norm_check_kept(mean, inv_std, kept, kept_ndim));
    if (grad_x) TRY(convc_check_like(grad_x, "grad_x", x, "x"));
    TRY(convc_norm_check_vector(grad_w, "grad_weight", x->shape[1], x));
    TRY(convc_norm_check_vector(grad_b, "grad_bias", x->shape[1], x));
    const norm_array all[NORM_ARRAYS] = {
        {grad_x, "grad_x"}, {grad_w, "grad_weight"}, {grad_b, "grad_bias"}, {grad_y, "grad"},
        {x, "x"},           {weight, "weight"},      {mean, "mean"},        {inv_std, "inv_std"}};
    return convc_norm_check_outputs(all, 3);
}

/* ---- batch normalisation ---- */

static convc_status check_batch_norm(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias,
                                     const convc_tensor *running_mean, const convc_tensor *running_var,
                                     const convc_batch_norm_params *params, const convc_tensor *y, const convc_tensor *mean,
                                     const convc_tensor *inv_std) {
    TRY(check_images(x));
    TRY(convc_norm_check_vector(running_mean, "running_mean", x->shape[1], x));
    TRY(convc_norm_check_vector(running_var, "running_var", x->shape[1], x));
    TRY(convc_norm_check_vector(weight, "weight", x->shape[1], x));
    TRY(convc_norm_check_vector(bias, "bias", x->shape[1], x));
    TRY(convc_norm_check_eps(params->eps));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_norm_check_kept(mean, inv_std, &x->shape[1], 1));
    if (!running_mean != !running_var || (!running_mean && !params->training))
        return convc_fail(CONVC_INVALID_VALUE, "%s must be given%s", running_mean ? "running_var" : "running_mean",
                          running_mean || running_var ? " with the other running statistic" : " unless training");
    if (params->training && convc_size(x) == x->shape[1])
        return convc_fail(CONVC_INVALID_VALUE, "x must have more than 1 value per channel in training, got 1 image of 1 pixel");
    const norm_array all[NORM_ARRAYS] = {
        {y, "out"}, {mean, "mean"},     {inv_std, "inv_std"}, {running_mean, "running_mean"}, {running_var, "running_var"},
        {x, "x"},   {weight, "weight"}, {bias, "bias"}};
    return convc_norm_check_outputs(all, params->training ? 5 : 3);
}

convc_status convc_batch_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias,
                                      const convc_tensor *running_mean, const convc_tensor *running_var,
                                      const convc_batch_norm_params *params, const convc_tensor *y, const convc_tensor *mean,
                                      const convc_tensor *inv_std) {
    TRY(check_batch_norm(x, weight, bias, running_mean, running_var, params, y, mean, inv_std));
    if (convc_size(x) == 0) {
        for (int64_t c = 0; c < x->shape[1]; c++) {
            if (mean) *kept_at(mean, 0, c) = NAN;
            if (inv_std) *kept_at(inv_std, 0, c) = NAN;
        }
        return CONVC_OK;
    }
    norm n = norm_of(x, 0, 1);
    pass p = pass_over(0, 1, x, NULL, NULL);
    TRY(borrow(&n, params->training ? 3 * p.parts : 0, weight, bias));
    convc_status status = CONVC_OK;
    if (params->training) status = measure(&n, &p);
    for (int64_t c = 0; c < n.channels && !params->training; c++) {
        n.mean[c] = number_at(running_mean, c, 0);
        n.var[c] = number_at(running_var, c, 1);
    }
    if (status == CONVC_OK) status = normalise(&n, params->eps, y, mean, inv_std);
    double share = params->momentum;
    for (int64_t c = 0; c < n.channels && status == CONVC_OK && params->training && running_mean; c++) {
        double var = n.var[c] * n.count / (n.count - 1); /* of the population that x is a sample of */
        convc_set_number(running_mean, c, (1 - share) * number_at(running_mean, c, 0) + share * n.mean[c]);
        convc_set_number(running_var, c, (1 - share) * number_at(running_var, c, 0) + share * var);
    }
    convc_return(CONVC_SCRATCH, &n.loan);
    return status;
}

convc_status convc_batch_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                       const convc_tensor *mean, const convc_tensor *inv_std, int training,
                                       const convc_tensor *grad_x, const convc_tensor *grad_w, const convc_tensor *grad_b) {
    TRY(check_images(x));
    TRY(check_backward(grad_y, x, weight, mean, inv_std, &x->shape[1], 1, grad_x, grad_w, grad_b));
    norm n = norm_of(x, 0, 1);
    return backward(&n, grad_y, weight, mean, inv_std, training, grad_x, grad_w, grad_b);
}

/* ---- group normalisation ---- */

convc_status convc_group_norm_forward(const convc_tensor *x, int64_t groups, const convc_tensor *weight, const convc_tensor *bias,
                                      double eps, const convc_tensor *y, const convc_tensor *mean, const convc_tensor *inv_std) {
    TRY(check_images(x));
    TRY(check_groups(x, groups));
    const int64_t shape[2] = {x->shape[0], groups};
    TRY(convc_norm_check_vector(weight, "weight", x->shape[1], x));
    TRY(convc_norm_check_vector(bias, "bias", x->shape[1], x));
    TRY(convc_norm_check_eps(eps));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_norm_check_kept(mean, inv_std, shape, 2));
    const norm_array all[NORM_ARRAYS] = {{y, "out"}, {mean, "mean"},     {inv_std, "inv_std"},
                                         {x, "x"},   {weight, "weight"}, {bias, "bias"}};
    TRY(convc_norm_check_outputs(all, 3));
    if (convc_size(x) == 0) return CONVC_OK;
    norm n = norm_of(x, 1, x->shape[1] / groups);
    pass p = pass_over(1, 1, x, NULL, NULL);
    TRY(borrow(&n, 3 * p.parts, weight, bias));
    convc_status status = measure(&n, &p);
    if (status == CONVC_OK) status = normalise(&n, eps, y, mean, inv_std);
    convc_return(CONVC_SCRATCH, &n.loan);
    return status;
}

convc_status convc_group_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, int64_t groups,
                                       const convc_tensor *weight, const convc_tensor *mean, const convc_tensor *inv_std,
                                       const convc_tensor *grad_x, const convc_tensor *grad_w, const convc_tensor *grad_b) {
    TRY(check_images(x));
    TRY(check_groups(x, groups));
    const int64_t shape[2] = {x->shape[0], groups};
    TRY(check_backward(grad_y, x, weight, mean, inv_std, shape, 2, grad_x, grad_w, grad_b));
    norm n = norm_of(x, 1, x->shape[1] / groups);
    return backward(&n, grad_y, weight, mean, inv_std, 1, grad_x, grad_w, grad_b);
}
