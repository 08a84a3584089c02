/* Functions of single elements and their gradients, and zeros: element by element, whatever the tensors' layouts. */
#include <string.h>

#include "lines.h"

/* What an element costs, in flops: mostly it is the memory that is busy. */
#define ELEMENT_FLOPS 4.0
#define FUNCTION_FLOPS 16.0

typedef struct map_job {
    const convc_kernels *kernels;
    convc_map which;
    double parameter;
    lines lines;
} map_job;

/* Whole lines go to the kernel as many at once as are equally far apart. */
static void map_task(const void *context, int64_t task, void *workspace) {
    const map_job *j = context;
    const lines *l = &j->lines;
    int64_t end = split_point(lines_pieces(l), l->tasks, task + 1), apart[LINES_TENSORS] = {0}, run = 1;
    (void)workspace;
    if (l->pieces == 1 && l->axes > 0) {
        run = l->size[l->axes - 1];
        for (int t = 0; t < l->tensors; t++) apart[t] = l->stride[t][l->axes - 1] / l->item[t];
    }
    for (int64_t i = split_point(lines_pieces(l), l->tasks, task), count; i < end; i += count) {
        line_piece at = lines_piece(l, i);
        count = min_i64(end - i, run - i % run);
        j->kernels->map(j->which, &(map_lines){at.data, l->step, apart, at.count, count}, j->parameter);
    }
}

/* The output comes first. */
static convc_status run_map(convc_map which, double parameter, int count, const convc_tensor *const tensors[]) {
    int64_t size = convc_size(tensors[0]);
    if (size == 0) return CONVC_OK;
    int function = which % MAP_BACKWARD;
    int cheap = function == MAP_RELU || function == MAP_LEAKY_RELU || function == MAP_PRELU;
    map_job j = {convc_kernels_for(tensors[0]->dtype), which, parameter, convc_lines(count, tensors)};
    return convc_parallel(map_task, &j, j.lines.tasks, (cheap ? ELEMENT_FLOPS : FUNCTION_FLOPS) * (double)size, 0);
}

static convc_status check_forward(const convc_tensor *x, const convc_tensor *y) {
    TRY(convc_check_tensor(x, "x", 0, CONVC_MAX_NDIM));
    TRY(convc_check_like(y, "out", x, "x"));
    TRY(convc_check_output(y, "out", 0, CONVC_MAX_NDIM));
    return convc_check_disjoint(y, "out", x, "x");
}

/* `at` is what the gradient is computed from, the input or the output. */
static convc_status check_known(const convc_tensor *grad_y, const convc_tensor *at, const char *at_name) {
    TRY(convc_check_tensor(grad_y, "grad", 0, CONVC_MAX_NDIM));
    return convc_check_like(at, at_name, grad_y, "grad");
}

static convc_status check_backward(const convc_tensor *grad_y, const convc_tensor *at, const char *at_name,
                                   const convc_tensor *grad_x) {
    TRY(check_known(grad_y, at, at_name));
    TRY(convc_check_like(grad_x, "grad_x", grad_y, "grad"));
    TRY(convc_check_output(grad_x, "grad_x", 0, CONVC_MAX_NDIM));
    TRY(convc_check_disjoint(grad_x, "grad_x", grad_y, "grad"));
    return convc_check_disjoint(grad_x, "grad_x", at, at_name);
}

/* ---- of one input ---- */

convc_status convc_relu_forward(const convc_tensor *x, const convc_tensor *y) {
    TRY(check_forward(x, y));
    return run_map(MAP_RELU, 0, 2, (const convc_tensor *const[]){y, x});
}

convc_status convc_relu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *grad_x) {
    TRY(check_backward(grad_y, x, "x", grad_x));
    return run_map(MAP_RELU_BACKWARD, 0, 3, (const convc_tensor *const[]){grad_x, grad_y, x});
}

static convc_status check_function(convc_function function) {
    if ((int)function >= CONVC_LEAKY_RELU && (int)function <= CONVC_TANH) return CONVC_OK;
    return convc_fail(CONVC_INVALID_VALUE, "function must be from %d to %d, got %d", CONVC_LEAKY_RELU, CONVC_TANH, (int)function);
}

convc_status convc_function_forward(convc_function function, double slope, const convc_tensor *x, const convc_tensor *y) {
    TRY(check_function(function));
    TRY(check_forward(x, y));
    return run_map((convc_map)function, slope, 2, (const convc_tensor *const[]){y, x});
}

convc_status convc_function_backward(convc_function function, double slope, const convc_tensor *grad_y, const convc_tensor *x,
                                     const convc_tensor *grad_x) {
    TRY(check_function(function));
    TRY(check_backward(grad_y, x, function == CONVC_SIGMOID || function == CONVC_TANH ? "y" : "x", grad_x));
    return run_map((convc_map)(MAP_BACKWARD + (int)function), slope, 3, (const convc_tensor *const[]){grad_x, grad_y, x});
}

/* ---- PReLU ---- */

/* The weight as a tensor of x's shape, which repeats it. */
static convc_status broadcast_weight(const convc_tensor *weight, const convc_tensor *x, int channel_axis, convc_tensor *wide) {
    TRY(convc_check_tensor(weight, "weight", 1, 1));
    TRY(convc_check_dtype(weight, "weight", x, "x"));
    int64_t count = weight->shape[0];
    if (count != 1 && (channel_axis < 0 || channel_axis >= x->ndim))
        return convc_fail(CONVC_INVALID_VALUE, "axis must be from 0 to %d, got %d", x->ndim - 1, channel_axis);
    if (count != 1 && count != x->shape[channel_axis])
        return convc_fail(CONVC_INVALID_VALUE, "weight must have shape (1) or (%lld) as x has channels, got (%lld)",
                          (long long)x->shape[channel_axis], (long long)count);
    *wide = *x;
    wide->data = weight->data;
    for (int i = 0; i < x->ndim; i++) wide->strides[i] = count != 1 && i == channel_axis ? weight->strides[0] : 0;
    return CONVC_OK;
}

convc_status convc_prelu_forward(const convc_tensor *x, const convc_tensor *weight, int channel_axis, const convc_tensor *y) {
    convc_tensor wide;
    TRY(check_forward(x, y));
    TRY(broadcast_weight(weight, x, channel_axis, &wide));
    TRY(convc_check_disjoint(y, "out", weight, "weight"));
    return run_map(MAP_PRELU, 0, 3, (const convc_tensor *const[]){y, x, &wide});
}

convc_status convc_prelu_backward(const convc_tensor *grad_y, const convc_tensor *x, const convc_tensor *weight, int channel_axis,
                                  const convc_tensor *grad_x, const convc_tensor *grad_weight) {
    convc_tensor wide;
    TRY(grad_x ? check_backward(grad_y, x, "x", grad_x) : check_known(grad_y, x, "x"));
    TRY(broadcast_weight(weight, x, channel_axis, &wide));
    if (grad_x) TRY(convc_check_disjoint(grad_x, "grad_x", weight, "weight"));
    if (grad_weight) {
        TRY(convc_check_like(grad_weight, "grad_weight", weight, "weight"));
        TRY(convc_check_output(grad_weight, "grad_weight", 1, 1));
        TRY(convc_check_disjoint(grad_weight, "grad_weight", grad_y, "grad"));
        TRY(convc_check_disjoint(grad_weight, "grad_weight", x, "x"));
        TRY(convc_check_disjoint(grad_weight, "grad_weight", weight, "weight"));
        if (grad_x) TRY(convc_check_disjoint(grad_weight, "grad_weight", grad_x, "grad_x"));
    }
    if (grad_x) TRY(run_map(MAP_PRELU_BACKWARD, 0, 4, (const convc_tensor *const[]){grad_x, grad_y, x, &wide}));
    return grad_weight ? convc_sum_prelu(grad_y, x, weight->shape[0] == 1 ? -1 : channel_axis, grad_weight) : CONVC_OK;
}

/* ---- zeros ---- */

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
