/* Softmax and the cross-entropy of class numbers: rows along the last axis, each computed by one thread. */
#include "lines.h"

#define ELEMENT_FLOPS 32.0 /* an exponential and its sum */
#define TASK_ELEMENTS 8192

/* Rows of up to four tensors; what the operator at hand does not have stays NULL. */
typedef struct rows_job {
    const convc_kernels *kernels;
    const convc_tensor *x, *y, *grad, *target;
    int64_t rows, tasks;
    int side_by_side; /* rows are neighbours in memory, and many are computed at once */
} rows_job;

/* Does the last axis run across rows that are neighbours in memory? */
static int crosses_rows(const convc_tensor *t) {
    return !t || (t->ndim > 1 && element_stride(t, t->ndim - 1) != 1 && element_stride(t, t->ndim - 2) == 1);
}

/* The first row of a task: whole vectors of rows that are neighbours stay together. */
static int64_t first_row(const rows_job *j, int64_t task) {
    int64_t unit = j->side_by_side ? SOFTMAX_VECTOR : 1;
    return min_i64(j->rows, unit * split_point(ceil_div(j->rows, unit), j->tasks, task));
}

/* How many rows from this one on are computed at once. */
static int64_t rows_at_once(const rows_job *j, int64_t row, int64_t end, int64_t most) {
    if (!j->side_by_side) return 1;
    int64_t run = j->x->shape[j->x->ndim - 2], left = min_i64(end - row, run - row % run);
    return max_i64(1, min_i64(left, most) / SOFTMAX_VECTOR * SOFTMAX_VECTOR);
}

static convc_status run_rows(convc_task run, rows_job *j) {
    const convc_tensor *t = j->x;
    int64_t size = convc_size(t);
    if (size == 0) return CONVC_OK;
    j->kernels = convc_kernels_for(t->dtype);
    j->rows = size / t->shape[t->ndim - 1];
    j->tasks = min_i64(ceil_div(j->rows, j->side_by_side ? SOFTMAX_ROWS : 1), ceil_div(size, TASK_ELEMENTS));
    return convc_parallel(run, j, j->tasks, ELEMENT_FLOPS * (double)size, 0);
}

/* ---- softmax ---- */

static void softmax_task(const void *context, int64_t task, void *workspace) {
    const rows_job *j = context;
    int last = j->x->ndim - 1;
    (void)workspace;
    int64_t end = first_row(j, task + 1);
    for (int64_t row = first_row(j, task), count; row < end; row += count) {
        const void *x = convc_row(j->x, last, row);
        void *y = convc_row(j->y, last, row);
        int64_t x_step = element_stride(j->x, last), y_step = element_stride(j->y, last), n = j->x->shape[last];
        count = rows_at_once(j, row, end, SOFTMAX_ROWS);
        if (count > 1) j->kernels->softmax_rows(x, x_step, y, y_step, n, count);
        else j->kernels->softmax(x, x_step, y, y_step, n);
    }
}

convc_status convc_softmax_forward(const convc_tensor *x, const convc_tensor *y) {
    TRY(convc_check_tensor(x, "x", 1, CONVC_MAX_NDIM));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_check_output(y, "out", 1, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    rows_job j = {.x = x, .y = y};
    j.side_by_side = crosses_rows(x) && crosses_rows(y);
    return run_rows(softmax_task, &j);
}

static void softmax_backward_task(const void *context, int64_t task, void *workspace) {
    const rows_job *j = context;
    int last = j->x->ndim - 1;
    (void)workspace;
    int64_t end = first_row(j, task + 1);
    for (int64_t row = first_row(j, task), count; row < end; row += count) {
        const void *grad = convc_row(j->grad, last, row), *y = convc_row(j->y, last, row);
        void *x = convc_row(j->x, last, row);
        int64_t grad_step = element_stride(j->grad, last), y_step = element_stride(j->y, last),
                x_step = element_stride(j->x, last);
        count = rows_at_once(j, row, end, SOFTMAX_GRADIENT_ROWS);
        if (count > 1) j->kernels->softmax_backward_rows(grad, grad_step, y, y_step, x, x_step, j->x->shape[last], count);
        else j->kernels->softmax_backward(grad, grad_step, y, y_step, x, x_step, j->x->shape[last]);
    }
}

convc_status convc_softmax_backward(const convc_tensor *grad_y, const convc_tensor *y, const convc_tensor *grad_x) {
    TRY(convc_check_tensor(grad_y, "grad", 1, CONVC_MAX_NDIM));
    TRY(convc_check_like(y, "y", grad_y, "grad"));
    TRY(convc_check_like(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_output(grad_x, "grad_x", 1, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_x, "grad_x", y, "y"));
    rows_job j = {.x = grad_x, .y = y, .grad = grad_y};
    j.side_by_side = crosses_rows(grad_x) && crosses_rows(y) && crosses_rows(grad_y);
    return run_rows(softmax_backward_task, &j);
}

/* ---- cross-entropy ---- */

static int64_t target_of(const convc_tensor *target, int64_t row) { return *(const int64_t *)convc_row(target, 1, row); }

static convc_status check_target(const convc_tensor *target, const convc_tensor *logits) {
    TRY(convc_check_any(target, "target", 1, 1));
    if (target->dtype != CONVC_I64) return convc_fail(CONVC_INVALID_TYPE, "target must be int64");
    TRY(convc_check_shape(target, "target", logits->shape, 1));
    for (int64_t i = 0; i < target->shape[0]; i++) {
        int64_t class = target_of(target, i);
        if (class < 0 || class >= logits->shape[1])
            return convc_fail(CONVC_INVALID_VALUE, "target must hold class numbers from 0 to %lld, got %lld for sample %lld",
                              (long long)logits->shape[1] - 1, (long long)class, (long long)i);
    }
    return CONVC_OK;
}

/* One value a sample, written or read. */
static convc_status check_values(const convc_tensor *t, const char *name, const convc_tensor *logits) {
    TRY(convc_check_tensor(t, name, 1, 1));
    TRY(convc_check_shape(t, name, logits->shape, 1));
    return convc_check_dtype(t, name, logits, "logits");
}

static void cross_entropy_task(const void *context, int64_t task, void *workspace) {
    const rows_job *j = context;
    (void)workspace;
    for (int64_t row = split_point(j->rows, j->tasks, task); row < split_point(j->rows, j->tasks, task + 1); row++)
        j->kernels->cross_entropy(convc_row(j->x, 1, row), element_stride(j->x, 1), j->x->shape[1], target_of(j->target, row),
                                  convc_row(j->y, 1, row));
}

convc_status convc_cross_entropy_forward(const convc_tensor *logits, const convc_tensor *target, const convc_tensor *loss) {
    TRY(convc_check_tensor(logits, "logits", 2, 2));
    TRY(check_target(target, logits));
    TRY(check_values(loss, "loss", logits));
    TRY(convc_check_output(loss, "loss", 1, 1));
    TRY(convc_check_disjoint(loss, "loss", logits, "logits"));
    TRY(convc_check_disjoint(loss, "loss", target, "target"));
    rows_job j = {.x = logits, .y = loss, .target = target};
    return run_rows(cross_entropy_task, &j);
}

static void cross_entropy_backward_task(const void *context, int64_t task, void *workspace) {
    const rows_job *j = context;
    (void)workspace;
    for (int64_t row = split_point(j->rows, j->tasks, task); row < split_point(j->rows, j->tasks, task + 1); row++)
        j->kernels->cross_entropy_backward(convc_row(j->grad, 1, row), convc_row(j->x, 1, row), element_stride(j->x, 1),
                                           j->x->shape[1], target_of(j->target, row), convc_row(j->y, 1, row),
                                           element_stride(j->y, 1));
}

convc_status convc_cross_entropy_backward(const convc_tensor *grad_loss, const convc_tensor *logits, const convc_tensor *target,
                                          const convc_tensor *grad_logits) {
    TRY(convc_check_tensor(logits, "logits", 2, 2));
    TRY(check_target(target, logits));
    TRY(check_values(grad_loss, "grad", logits));
    TRY(convc_check_like(grad_logits, "grad_logits", logits, "logits"));
    TRY(convc_check_output(grad_logits, "grad_logits", 2, 2));
    TRY(convc_check_disjoint(grad_logits, "grad_logits", grad_loss, "grad"));
    TRY(convc_check_disjoint(grad_logits, "grad_logits", logits, "logits"));
    TRY(convc_check_disjoint(grad_logits, "grad_logits", target, "target"));
    rows_job j = {.x = logits, .y = grad_logits, .grad = grad_loss, .target = target};
    return run_rows(cross_entropy_backward_task, &j);
}
