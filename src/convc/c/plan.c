/* Plans: convolutions whose weights were packed once, to be run any number of times. */
#include <stdlib.h>
#include <string.h>

#include "pad.h"

struct convc_plan {
    conv conv; /* of the weights; x and y carry shapes only */
    convc_tensor x, y;
    algorithm algorithm;
    convc_pad_mode pad_mode; /* zeros where there is no padding */
    const convc_kernels *kernels;
    void *packed, *bias;
};

void convc_plan_destroy(convc_plan *plan) {
    if (!plan) return;
    free(plan->packed);
    free(plan->bias);
    free(plan);
}

static convc_status fill_plan(convc_plan *plan, const convc_tensor *bias) {
    TRY(convc_check_algorithm(&plan->conv));
    if (bias) {
        int64_t item = convc_itemsize(bias->dtype);
        plan->bias = malloc((size_t)(bias->shape[0] * item));
        if (!plan->bias) return convc_fail(CONVC_NO_MEMORY, "no memory for a copy of the bias");
        for (int64_t i = 0; i < bias->shape[0]; i++)
            memcpy((char *)plan->bias + i * item, (char *)bias->data + i * bias->strides[0], (size_t)item);
    }
    plan->conv.bias = plan->bias;
    plan->kernels = convc_kernels_for(plan->conv.dtype);
    plan->algorithm = convc_choose(&plan->conv, plan->kernels, PREPARED);
    int64_t bytes = convc_times(convc_packed_size(&plan->conv, plan->algorithm, plan->kernels), convc_itemsize(plan->conv.dtype));
    if (bytes > 0) plan->packed = convc_allocate((size_t)bytes);
    if (!plan->packed) return convc_fail(CONVC_NO_MEMORY, "no memory for the packed weights");
    TRY(convc_pack_weights(&plan->conv, plan->algorithm, plan->kernels, plan->packed));
    plan->conv.w.data = NULL; /* packed now; the caller may free it */
    return CONVC_OK;
}

convc_status convc_plan_create(const convc_tensor *x, const convc_tensor *w, const convc_tensor *bias, const convc_conv_params *p,
                               const convc_tensor *y, convc_plan **plan) {
    convc_tensor x_shape = *x, y_shape = *y;
    *plan = NULL;
    x_shape.data = y_shape.data = w ? w->data : NULL; /* descriptions only: any aligned address passes the checks */
    if (x_shape.shape[0] == 0) x_shape.shape[0] = y_shape.shape[0] = 1;
    int64_t shape[CONVC_MAX_NDIM];
    TRY(convc_check_any(&x_shape, "input_shape", 3, CONVC_MAX_NDIM));
    TRY(convc_check_tensor(w, "weight", x->ndim, x->ndim));
    TRY(convc_conv_output_shape(x->ndim, x_shape.shape, w->shape, p, shape));
    TRY(convc_check_shape(&y_shape, "out", shape, x->ndim));
    TRY(convc_check_dtype(w, "weight", x, "x"));
    if (bias) {
        TRY(convc_check_tensor(bias, "bias", 1, 1));
        TRY(convc_check_shape(bias, "bias", &w->shape[0], 1));
        TRY(convc_check_dtype(bias, "bias", w, "weight"));
    }
    convc_plan *made = calloc(1, sizeof *made);
    if (!made) return convc_fail(CONVC_NO_MEMORY, "no memory for a plan");
    made->x = x_shape;
    made->y = y_shape;
    made->conv = convc_conv_of(&x_shape, w, &y_shape, p);
    made->conv.activation = p->activation;
    made->pad_mode = convc_is_padded(p, x->ndim) ? p->pad_mode : CONVC_PAD_ZEROS;
    convc_status status = fill_plan(made, bias);
    if (status != CONVC_OK) {
        convc_plan_destroy(made);
        return status;
    }
    *plan = made;
    return CONVC_OK;
}

/* A plan along channels met tensors that have them elsewhere: its packed weights, (taps, channels), are an ordinary array, too. */
static convc_status run_on_other_strides(const convc_plan *plan, conv *c) {
    c->w.data = plan->packed;
    c->w.stride[2] = c->y.c;
    c->w.stride[1] = c->w.size[2] * c->w.stride[2];
    c->w.stride[0] = c->w.size[1] * c->w.stride[1];
    c->w.stride_c = c->w.size[0] * c->w.stride[0];
    c->w.stride_n = c->w_group = 1;
    return plan->pad_mode ? convc_padded_forward(c, plan->pad_mode, NULL) : convc_run_conv(c);
}

convc_status convc_plan_run(const convc_plan *plan, const convc_tensor *x, const convc_tensor *y) {
    int ndim = plan->x.ndim;
    int64_t x_shape[CONVC_MAX_NDIM], y_shape[CONVC_MAX_NDIM];
    TRY(convc_check_tensor(x, "x", ndim, ndim));
    TRY(convc_check_output(y, "out", ndim, ndim));
    memcpy(x_shape, plan->x.shape, sizeof x_shape);
    memcpy(y_shape, plan->y.shape, sizeof y_shape);
    x_shape[0] = y_shape[0] = x->shape[0];
    TRY(convc_check_shape(x, "x", x_shape, ndim));
    TRY(convc_check_shape(y, "out", y_shape, ndim));
    if (x->dtype != plan->conv.dtype || y->dtype != plan->conv.dtype)
        return convc_fail(CONVC_INVALID_TYPE, "x and out must have the dtype of the plan's weights");
    TRY(convc_check_disjoint(y, "out", x, "x"));
    if (x->shape[0] == 0) return CONVC_OK;
    conv c = plan->conv;
    c.x = convc_volume_of(x);
    c.y = convc_volume_of(y);
    if (plan->algorithm == DIRECT_CHANNELS && !convc_channels_are_contiguous(&c)) return run_on_other_strides(plan, &c);
    if (!plan->pad_mode) return convc_run_packed(&c, plan->algorithm, plan->kernels, plan->packed);
    const packed_weights packed = {plan->algorithm, plan->kernels, plan->packed};
    return convc_padded_forward(&c, plan->pad_mode, &packed);
}
