/* Resizing by the nearest element or by linear interpolation, and its gradient: checks, coordinates, and how rows are shared out. */
#include <stdlib.h>

#include "resize.h"

#define RESIZE_FLOPS 8.0 /* what an element costs, in flops */
#define TASK_ELEMENTS 65536 /* of x and y, about */
#define TABLE 16384 /* inputs and outputs of an axis at most, of which a table is made */

typedef struct resize_job {
    const convc_kernels *kernels;
    resize resize;
    int64_t rows, tasks;
} resize_job;

static resize_axis axis_of(int64_t in, int64_t out, double scale, const convc_resize_params *p) {
    resize_axis a = {.in = in, .out = out};
    double whole = scale > 0 ? 1 / scale : (double)in / (double)out;
    float single = scale > 0 ? (float)(1 / scale) : (float)in / (float)out;
    if (p->mode == CONVC_LINEAR && p->align_corners) {
        a.rule = RESIZE_CORNERS;
        a.scale = out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
    } else {
        a.rule = p->mode == CONVC_LINEAR ? RESIZE_HALF : p->mode == CONVC_NEAREST ? RESIZE_NEAREST : RESIZE_MIDDLE;
        a.scale = p->mode == CONVC_LINEAR ? whole : (double)single;
    }
    /* Linear modes then copy whatever the given scale; so does PyTorch. */
    if (out == in && (p->mode == CONVC_LINEAR || a.scale == 1)) a.rule = RESIZE_COPY;
    return a;
}

/* Are the channels of a pixel neighbours in memory, as the pixels of a channel are not? */
static int channels_last(const volume *v) { return v->c > 1 && v->stride_c == 1 && !(v->size[2] > 1 && v->stride[2] == 1); }

static resize resize_of(const convc_tensor *x, const convc_tensor *y, const convc_resize_params *p) {
    resize r = {.x = convc_volume_of(x), .y = convc_volume_of(y)};
    int missing = 5 - x->ndim;
    for (int i = 0; i < 3; i++) {
        double scale = i >= missing && p->by_scale ? p->scale[i - missing] : 0; /* 0: that of the sizes */
        r.axis[i] = axis_of(r.x.size[i], r.y.size[i], scale, p);
    }
    r.channels = channels_last(&r.x) && channels_last(&r.y) ? min_i64(r.x.c, RESIZE_ROW) : 1;
    r.groups = ceil_div(r.x.c, r.channels);
    r.columns = RESIZE_ROW / r.channels;
    return r;
}

/* Many rows need the same few taps. Whoever gets the memory frees it; where there is none, rows do without. */
static void *make_tables(resize *r) {
    int64_t taps = 0, firsts = 0;
    for (int k = 0; k < 3; k++) {
        if (r->axis[k].in + r->axis[k].out > TABLE) continue;
        taps += r->axis[k].out;
        firsts += r->axis[k].in;
    }
    tap_pair *next = malloc((size_t)taps * sizeof *next + (size_t)firsts * sizeof(int64_t)), *const memory = next;
    int64_t *first = memory ? (int64_t *)(memory + taps) : NULL;
    for (int k = 0; k < 3 && memory; k++) {
        resize_axis *a = &r->axis[k];
        if (a->in + a->out > TABLE) continue;
        for (int64_t o = 0; o < a->out; o++) next[o] = resize_taps(a, o);
        a->taps = next;
        for (int64_t i = 0; i < a->in; i++) first[i] = resize_first(a, i);
        a->firsts = first;
        next += a->out;
        first += a->in;
    }
    return memory;
}

static convc_status run_rows(convc_task run, const resize *r, const volume *written, convc_dtype dtype) {
    resize_job j = {.kernels = convc_kernels_for(dtype), .resize = *r};
    const volume *x = &r->x, *y = &r->y;
    double work =
        (double)(x->n * x->c) * ((double)(x->size[0] * x->size[1] * x->size[2]) + (double)(y->size[0] * y->size[1] * y->size[2]));
    void *tables = make_tables(&j.resize);
    j.rows = written->n * r->groups * written->size[0] * written->size[1];
    j.tasks = work / TASK_ELEMENTS < (double)j.rows ? (int64_t)(work / TASK_ELEMENTS) + 1 : j.rows;
    convc_status status = convc_parallel(run, &j, j.tasks, RESIZE_FLOPS * work, j.kernels->resize_workspace);
    free(tables);
    return status;
}

static void forward_task(const void *context, int64_t task, void *workspace) {
    const resize_job *j = context;
    j->kernels->resize_rows(&j->resize, split_point(j->rows, j->tasks, task), split_point(j->rows, j->tasks, task + 1),
                            workspace);
}

convc_status convc_resize_forward(const convc_tensor *x, const convc_resize_params *params, const convc_tensor *y) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(x, "x", 3, CONVC_MAX_NDIM));
    TRY(convc_resize_output_shape(x->ndim, x->shape, params, shape));
    TRY(convc_check_tensor(x, "x", x->ndim, x->ndim));
    TRY(convc_check_output(y, "out", x->ndim, x->ndim));
    TRY(convc_check_shape(y, "out", shape, x->ndim));
    TRY(convc_check_dtype(y, "out", x, "x"));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    if (x->shape[0] == 0) return CONVC_OK;
    resize r = resize_of(x, y, params);
    return run_rows(forward_task, &r, &r.y, x->dtype);
}

static void backward_task(const void *context, int64_t task, void *workspace) {
    const resize_job *j = context;
    j->kernels->resize_rows_backward(&j->resize, split_point(j->rows, j->tasks, task), split_point(j->rows, j->tasks, task + 1),
                                     workspace);
}

/* A row of grad_x is one task's, which gathers what goes there: no two tasks add to one element. */
convc_status convc_resize_backward(const convc_tensor *grad_y, const convc_resize_params *params, const convc_tensor *grad_x) {
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(grad_x, "grad_x", 3, CONVC_MAX_NDIM));
    TRY(convc_resize_output_shape(grad_x->ndim, grad_x->shape, params, shape));
    TRY(convc_check_output(grad_x, "grad_x", grad_x->ndim, grad_x->ndim));
    TRY(convc_check_tensor(grad_y, "grad", grad_x->ndim, grad_x->ndim));
    TRY(convc_check_shape(grad_y, "grad", shape, grad_x->ndim));
    TRY(convc_check_dtype(grad_y, "grad", grad_x, "grad_x"));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    if (grad_x->shape[0] == 0) return CONVC_OK;
    resize r = resize_of(grad_x, grad_y, params);
    return run_rows(backward_task, &r, &r.x, grad_x->dtype);
}
