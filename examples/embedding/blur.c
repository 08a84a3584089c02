/* Blurs a small picture with convc and prints it: all that a C program needs is convc.h and the C files of convc. */
#include <stdio.h>

#include "convc.h"

enum { SIDE = 6, KERNEL = 3 };

/* A contiguous image (n, c, h, w), or a filter bank (k, c, r, s), of floats. */
static convc_tensor tensor(float *data, int64_t n, int64_t c, int64_t h, int64_t w) {
    const int64_t item = sizeof *data;
    convc_tensor t = {data, CONVC_F32, 4, {n, c, h, w}, {c * h * w * item, h * w * item, w * item, item}};
    return t;
}

int main(void) {
    float picture[SIDE * SIDE] = {0}, blurred[SIDE * SIDE], box[KERNEL * KERNEL];
    for (int i = 0; i < KERNEL * KERNEL; i++) box[i] = 1.0f;
    picture[SIDE + 1] = 1.0f; /* two bright points */
    picture[4 * SIDE + 3] = 2.0f;

    const convc_tensor x = tensor(picture, 1, 1, SIDE, SIDE), w = tensor(box, 1, 1, KERNEL, KERNEL);
    const convc_tensor y = tensor(blurred, 1, 1, SIDE, SIDE);
    const convc_conv_params params = {
        .stride = {1, 1}, .dilation = {1, 1}, .pad_before = {1, 1}, .pad_after = {1, 1}, .groups = 1};
    if (convc_conv_forward(&x, &w, NULL, &params, &y) != CONVC_OK) {
        fprintf(stderr, "convc: %s\n", convc_last_error());
        return 1;
    }
    for (int i = 0; i < SIDE * SIDE; i++) printf("%g%c", (double)blurred[i], i % SIDE == SIDE - 1 ? '\n' : ' ');
    return 0;
}
