/* ReLU and its gradient, and zeros: element by element, whatever the tensors' layouts. */
#include <string.h>

#include "lines.h"

#define ELEMENT_FLOPS 4.0 /* what an element costs, in flops: it is the memory that is busy */

typedef struct eltwise_job {
    const convc_kernels *kernels;
    lines lines;
} eltwise_job;

static convc_status check_pair(const convc_tensor *t, const char *name, const convc_tensor *like, const char *like_name) {
    TRY(convc_check_tensor(t, name, 0, CONVC_MAX_NDIM));
    TRY(convc_check_shape(t, name, like->shape, like->ndim));
    return convc_check_dtype(t, name, like, like_name);
}

static void relu_task(const void *context, int64_t task, void *workspace) {
    const eltwise_job *j = context;
    const lines *l = &j->lines;
    int64_t pieces = lines_pieces(l), end = split_point(pieces, l->tasks, task + 1);
    (void)workspace;
    for (int64_t i = split_point(pieces, l->tasks, task); i < end; i++) {
        line_piece at = lines_piece(l, i);
        j->kernels->relu(at.data[1], l->step[1], at.data[0], l->step[0], at.count);
    }
}

convc_status convc_relu_forward(const convc_tensor *x, const convc_tensor *y) {
    TRY(convc_check_tensor(x, "x", 0, CONVC_MAX_NDIM));
    TRY(check_pair(y, "out", x, "x"));
    TRY(convc_check_output(y, "out", 0, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(y, "out", x, "x"));
    if (convc_size(y) == 0) return CONVC_OK;
    eltwise_job j = {convc_kernels_for(x->dtype), convc_lines_of(2, y, x, NULL)};
    return convc_parallel(relu_task, &j, j.lines.tasks, ELEMENT_FLOPS * (double)convc_size(y), 0);
}

static void relu_backward_task(const void *context, int64_t task, void *workspace) {
    const eltwise_job *j = context;
    const lines *l = &j->lines;
    int64_t pieces = lines_pieces(l), end = split_point(pieces, l->tasks, task + 1);
    (void)workspace;
    for (int64_t i = split_point(pieces, l->tasks, task); i < end; i++) {
        line_piece at = lines_piece(l, i);
        j->kernels->relu_backward(at.data[1], l->step[1], at.data[2], l->step[2], at.data[0], l->step[0], at.count);
    }
}

convc_status convc_relu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_x) {
    TRY(convc_check_tensor(grad_y, "grad", 0, CONVC_MAX_NDIM));
    TRY(check_pair(x, "x", grad_y, "grad"));
    TRY(check_pair(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_output(grad_x, "grad_x", 0, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_disjoint(grad_x, "grad_x", x, "x"));
    if (convc_size(grad_x) == 0) return CONVC_OK;
    eltwise_job j = {convc_kernels_for(x->dtype), convc_lines_of(3, grad_x, grad_y, x)};
    return convc_parallel(relu_backward_task, &j, j.lines.tasks, ELEMENT_FLOPS * (double)convc_size(x), 0);
}

static void zero_task(const void *context, int64_t task, void *workspace) {
    const lines *l = context;
    int64_t pieces = lines_pieces(l), end = split_point(pieces, l->tasks, task + 1), item = l->item[0];
    (void)workspace;
    for (int64_t i = split_point(pieces, l->tasks, task); i < end; i++) {
        line_piece at = lines_piece(l, i);
        int64_t run = l->step[0] == 1 ? at.count : 1;
        for (int64_t k = 0; k < at.count; k += run) memset((char *)at.data[0] + k * l->step[0] * item, 0, (size_t)(run * item));
    }
}

convc_status convc_fill_zero(const convc_tensor *t) {
    if (convc_size(t) == 0) return CONVC_OK;
    lines l = convc_lines_of(1, t, NULL, NULL);
    return convc_parallel(zero_task, &l, l.tasks, ELEMENT_FLOPS * (double)convc_size(t), 0);
}
