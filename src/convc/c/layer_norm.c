/* Layer normalisation: each row along the last axis by its own mean and spread, each computed by one thread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "norm.h"

#define NORM_FLOPS 8.0 /* what an element costs, in flops: it is the memory that is busy */
#define TASK_ELEMENTS 16384
#define FEW_ROWS 16 /* at least, and many at most, whose gradients of weights are summed in one place */
#define MANY_ROWS 128
#define SUMS 512 /* that are added up at a time */

typedef struct layer_job {
    const convc_kernels *kernels;
    const convc_tensor *x, *y, *grad_y, *grad_x, *mean, *inv_std;
    const void *weight, *bias; /* contiguous */
    double eps;
    int64_t rows, n, tasks;
    char *sums; /* (tasks, 2, n) of x's dtype, or NULL */
} layer_job;

static void copy_line(const char *from, int64_t from_stride, char *to, int64_t to_stride, int64_t n, size_t item) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i * to_stride, from + i * from_stride, item);
}

static int is_contiguous(const convc_tensor *t) { return t->shape[t->ndim - 1] == 1 || element_stride(t, t->ndim - 1) == 1; }

/* Row i where it is, or gathered into the buffer. */
static const void *row_in(const convc_tensor *t, int64_t i, void *buffer) {
    int last = t->ndim - 1;
    int64_t item = convc_itemsize(t->dtype);
    const char *row = convc_row(t, last, i);
    if (is_contiguous(t)) return row;
    copy_line(row, t->strides[last], buffer, item, t->shape[last], (size_t)item);
    return buffer;
}

/* Where row i is written first, and its way from there to its place. */
static void *row_out(const convc_tensor *t, int64_t i, void *buffer) {
    return is_contiguous(t) ? convc_row(t, t->ndim - 1, i) : buffer;
}

static void put_row(const convc_tensor *t, int64_t i, const void *buffer) {
    int last = t->ndim - 1;
    int64_t item = convc_itemsize(t->dtype);
    if (!is_contiguous(t)) copy_line(buffer, item, convc_row(t, last, i), t->strides[last], t->shape[last], (size_t)item);
}

static void forward_task(const void *context, int64_t task, void *workspace) {
    const layer_job *j = context;
    int64_t row_bytes = j->n * convc_itemsize(j->x->dtype);
    char *in = workspace, *out = in + row_bytes;
    for (int64_t i = split_point(j->rows, j->tasks, task); i < split_point(j->rows, j->tasks, task + 1); i++) {
        double mean, inv_std;
        void *y = row_out(j->y, i, out);
        j->kernels->layer_norm(row_in(j->x, i, in), j->n, j->weight, j->bias, j->eps, y, &mean, &inv_std);
        put_row(j->y, i, y);
        if (j->mean) *(double *)convc_row(j->mean, j->mean->ndim, i) = mean;
        if (j->inv_std) *(double *)convc_row(j->inv_std, j->inv_std->ndim, i) = inv_std;
    }
}

static void backward_task(const void *context, int64_t task, void *workspace) {
    const layer_job *j = context;
    int64_t row_bytes = j->n * convc_itemsize(j->x->dtype);
    char *x = workspace, *grad = x + row_bytes, *scratch = grad + row_bytes, *out = scratch + row_bytes;
    for (int64_t i = split_point(j->rows, j->tasks, task); i < split_point(j->rows, j->tasks, task + 1); i++) {
        void *grad_x = j->grad_x ? row_out(j->grad_x, i, out) : NULL;
        double mean = *(const double *)convc_row(j->mean, j->mean->ndim, i);
        double inv_std = *(const double *)convc_row(j->inv_std, j->inv_std->ndim, i);
        j->kernels->layer_norm_backward(row_in(j->grad_y, i, grad), row_in(j->x, i, x), j->n, j->weight, mean, inv_std, grad_x,
                                        j->sums ? j->sums + task * 2 * row_bytes : NULL, scratch);
        if (grad_x) put_row(j->grad_x, i, grad_x);
    }
}

static convc_status check_x(const convc_tensor *x) {
    TRY(convc_check_tensor(x, "x", 1, CONVC_MAX_NDIM));
    return x->shape[x->ndim - 1] > 0 ? CONVC_OK : convc_fail(CONVC_INVALID_VALUE, "x must not be empty along its last axis");
}

/* Borrowed for a row of each of `count` arrays. */
static size_t workspace_of(const convc_tensor *x, int count) {
    return (size_t)(count * x->shape[x->ndim - 1] * convc_itemsize(x->dtype));
}

static layer_job job_of(const convc_tensor *x) {
    layer_job j = {.kernels = convc_kernels_for(x->dtype), .x = x, .n = x->shape[x->ndim - 1]};
    j.rows = convc_size(x) / j.n;
    j.tasks = min_i64(j.rows, ceil_div(convc_size(x), TASK_ELEMENTS));
    return j;
}

convc_status convc_layer_norm_forward(const convc_tensor *x, const convc_tensor *weight, const convc_tensor *bias, double eps,
                                      const convc_tensor *y, const convc_tensor *mean, const convc_tensor *inv_std) {
    TRY(check_x(x));
    int64_t n = x->shape[x->ndim - 1];
    TRY(convc_norm_check_vector(weight, "weight", n, x));
    TRY(convc_norm_check_vector(bias, "bias", n, x));
    TRY(convc_norm_check_eps(eps));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_norm_check_kept(mean, inv_std, x->shape, x->ndim - 1));
    const norm_array all[NORM_ARRAYS] = {{y, "out"}, {mean, "mean"},     {inv_std, "inv_std"},
                                         {x, "x"},   {weight, "weight"}, {bias, "bias"}};
    TRY(convc_norm_check_outputs(all, 3));
    if (convc_size(x) == 0) return CONVC_OK;
    layer_job j = job_of(x);
    void *copies[2] = {NULL};
    j.y = y;
    j.mean = mean;
    j.inv_std = inv_std;
    j.eps = eps;
    convc_status status = convc_contiguous(weight, &j.weight, &copies[0]);
    if (status == CONVC_OK) status = convc_contiguous(bias, &j.bias, &copies[1]);
    if (status == CONVC_OK)
        status = convc_parallel(forward_task, &j, j.tasks, NORM_FLOPS * (double)convc_size(x), workspace_of(x, 2));
    free(copies[0]);
    free(copies[1]);
    return status;
}

/* Adds n elements of the sums from this one on. */
static void add_sums(const layer_job *j, int64_t at, int64_t n, double *sums) {
    for (int64_t i = 0; i < n; i++)
        sums[i] += j->x->dtype == CONVC_F32 ? (double)((const float *)j->sums)[at + i] : ((const double *)j->sums)[at + i];
}

/* Row `which` of the sums, of all tasks together: some elements at a time, for those of a task lie far from those of the next. */
static void store_sums(const layer_job *j, int which, const convc_tensor *to) {
    for (int64_t begin = 0; begin < j->n && to; begin += SUMS) {
        double sums[SUMS] = {0};
        int64_t count = min_i64(SUMS, j->n - begin);
        for (int64_t task = 0; task < j->tasks; task++) add_sums(j, (2 * task + which) * j->n + begin, count, sums);
        for (int64_t i = 0; i < count; i++) convc_set_number(to, begin + i, sums[i]);
    }
}

convc_status convc_layer_norm_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight,
                                       const convc_tensor *mean, const convc_tensor *inv_std, const convc_tensor *grad_x,
                                       const convc_tensor *grad_w, const convc_tensor *grad_b) {
    TRY(check_x(x));
    int64_t n = x->shape[x->ndim - 1];
    TRY(convc_check_like(grad_y, "grad", x, "x"));
    TRY(convc_norm_check_vector(weight, "weight", n, x));
    if (!mean || !inv_std) return convc_fail(CONVC_INVALID_VALUE, "%s is missing", mean ? "inv_std" : "mean");
    TRY(convc_norm_check_kept(mean, inv_std, x->shape, x->ndim - 1));
    if (grad_x) TRY(convc_check_like(grad_x, "grad_x", x, "x"));
    TRY(convc_norm_check_vector(grad_w, "grad_weight", n, x));
    TRY(convc_norm_check_vector(grad_b, "grad_bias", n, x));
    const norm_array all[NORM_ARRAYS] = {
        {grad_x, "grad_x"}, {grad_w, "grad_weight"}, {grad_b, "grad_bias"}, {grad_y, "grad"},
        {x, "x"},           {weight, "weight"},      {mean, "mean"},        {inv_std, "inv_std"}};
    TRY(convc_norm_check_outputs(all, 3));
    if (convc_size(x) == 0) {
        if (grad_w) TRY(convc_fill_zero(grad_w));
        return grad_b ? convc_fill_zero(grad_b) : CONVC_OK;
    }
    layer_job j = job_of(x);
    void *copy = NULL;
    j.grad_y = grad_y;
    j.grad_x = grad_x;
    j.mean = mean;
    j.inv_std = inv_std;
    if (grad_w || grad_b) {
        j.tasks = ceil_div(j.rows, max_i64(FEW_ROWS, min_i64(MANY_ROWS, TASK_ELEMENTS / n)));
        j.sums = calloc((size_t)(2 * j.tasks * n), (size_t)convc_itemsize(x->dtype));
        if (!j.sums) return convc_fail(CONVC_NO_MEMORY, "no memory for sums of %lld elements", (long long)n);
    }
    convc_status status = convc_contiguous(weight, &j.weight, &copy);
    if (status == CONVC_OK)
        status = convc_parallel(backward_task, &j, j.tasks, NORM_FLOPS * (double)convc_size(x), workspace_of(x, 4));
    if (status == CONVC_OK && j.sums) {
        store_sums(&j, 0, grad_b);
        store_sums(&j, 1, grad_w);
    }
    free(j.sums);
    free(copy);
    return status;
}
