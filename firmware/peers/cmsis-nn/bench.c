/* Counts the instructions that CMSIS-NN's int8 kernels execute for each layer of two decoders, and checks every output
   value against plain C. One line a layer:

       layer NETWORK KIND IN_CHANNELS OUT_CHANNELS SIDE MACS TICKS CONTEXT_BYTES

   It runs in QEMU with `-icount shift=0`, where an instruction takes 1 ns of SysTick's time. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "arm_nnfunctions.h"
#include "arm_nnsupportfunctions.h"

enum { KERNEL_SIDE = 3, TAPS = KERNEL_SIDE * KERNEL_SIDE, PADDING = 1 };

/* Activations are unsigned reals: -128 stands for 0, which is also what clamping at -128 makes a ReLU. */
enum { ZERO_POINT = -128, LOWEST = -128, HIGHEST = 127 };

typedef enum {
    CONV, /* 3x3, stride 1, padding 1 */
    UP,   /* nearest x2, then CONV */
    ADD,  /* of the network's first output */
} Kind;

typedef struct {
    Kind kind;
    int32_t in_channels;
    int32_t out_channels;
    int32_t side; /* of the output, in pixels */
} Layer;

typedef struct {
    const char *name;
    const Layer *layers;
    int layer_count;
} Network;

static const Layer DIGITS[] = {
    {CONV, 24, 40, 8}, {CONV, 40, 24, 8}, {CONV, 24, 40, 8}, {ADD, 40, 40, 8},
    {UP, 40, 24, 16},  {UP, 24, 12, 32},  {CONV, 12, 1, 32},
};

static const Layer S[] = {{CONV, 32, 32, 16}, {UP, 32, 24, 32}, {UP, 24, 16, 64}, {CONV, 16, 3, 64}};

static const Network NETWORKS[] = {
    {"digits", DIGITS, sizeof DIGITS / sizeof DIGITS[0]},
    {"S", S, sizeof S / sizeof S[0]},
};

/* The largest of any layer above. */
enum {
    MAX_CHANNELS = 40,
    MAX_WEIGHTS = 32 * TAPS * 32,
    MAX_OUTPUT = 64 * 64 * 16,
    MAX_DOUBLED = 64 * 64 * 24,
    MAX_FIRST_OUTPUT = 16 * 16 * 32,
    MAX_CONTEXT = 4 * TAPS * 40 + 64,
};

#define ALIGNED __attribute__((aligned(16)))

static int8_t input[MAX_OUTPUT] ALIGNED;
static int8_t doubled[MAX_DOUBLED] ALIGNED;
static int8_t output[MAX_OUTPUT] ALIGNED;
static int8_t first_output[MAX_FIRST_OUTPUT] ALIGNED;
static int8_t weights[MAX_WEIGHTS] ALIGNED; /* out channel, row, column, in channel */
static int32_t biases[MAX_CHANNELS];
static int32_t multipliers[MAX_CHANNELS];
static int32_t shifts[MAX_CHANNELS];
static int8_t context_bytes[MAX_CONTEXT] ALIGNED;

/* ---- The host, through semihosting ------------------------------------------------------------------------------ */

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, APPLICATION_EXIT = 0x20026, RUN_TIME_ERROR = 0x20023 };

static void semihost(uint32_t operation, uint32_t argument)
{
    register uint32_t r0 __asm("r0") = operation;
    register uint32_t r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *text)
{
    semihost(SYS_WRITE0, (uint32_t)text);
}

static void print_number(uint32_t number)
{
    char digits[12];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = '0' + number % 10;
        number /= 10;
    } while (number != 0);
    *--first = ' ';
    print(first);
}

static void __attribute__((noreturn)) leave(uint32_t reason)
{
    for (;;) {
        semihost(SYS_EXIT, reason);
    }
}

static void __attribute__((noreturn)) fail(const char *why)
{
    print("error ");
    print(why);
    print("\n");
    leave(RUN_TIME_ERROR);
}

/* ---- The clock -------------------------------------------------------------------------------------------------- */

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014)
#define SYSTICK_CURRENT (*(volatile uint32_t *)0xE000E018)

/* SysTick has 24 bits, 500 million instructions or more on these boards; no layer comes near. */
enum { SYSTICK_MASK = 0xFFFFFF, COUNT = 1 << 0, PROCESSOR_CLOCK = 1 << 2 };

static void start_clock(void)
{
    SYSTICK_RELOAD = SYSTICK_MASK;
    SYSTICK_CURRENT = 0;
    SYSTICK_CONTROL = COUNT | PROCESSOR_CLOCK;
}

static uint32_t clock_now(void)
{
    __asm volatile("" ::: "memory");
    const uint32_t now = SYSTICK_CURRENT;
    __asm volatile("" ::: "memory");
    return now;
}

/* SysTick counts down. */
static uint32_t ticks_since(uint32_t start)
{
    return (start - clock_now()) & SYSTICK_MASK;
}

/* A loop of two instructions tells how many instructions a tick is. */
static void calibrate(void)
{
    const uint32_t rounds = 50 * 1000 * 1000;
    uint32_t left = rounds;
    const uint32_t start = clock_now();
    __asm volatile(".balign 4\n1: subs %0, #1\n bne 1b" : "+l"(left) : : "cc");
    const uint32_t ticks = ticks_since(start);
    print("calibration");
    print_number(2 * rounds);
    print_number(ticks);
    print("\n");
}

/* ---- Random but fixed parameters -------------------------------------------------------------------------------- */

static uint32_t random_state;

/* Numerical Recipes' generator; its upper bits are the good ones. */
static uint32_t random_24_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static int32_t random_between(int32_t lowest, int32_t highest)
{
    return lowest + (int32_t)(random_24_bits() % (uint32_t)(highest - lowest + 1));
}

/* Weights over the whole range; biases that make the mean output about 0, as a batch normalisation folded into a layer
   would; and multipliers that bring the sum's spread, which grows with the square root of its terms, to the range of an
   output. */
static void draw_parameters(const Layer *layer)
{
    const int32_t in_side = layer->kind == UP ? layer->side / 2 : layer->side;
    const int32_t in_values = in_side * in_side * layer->in_channels;
    int32_t mean_input = 0;
    for (int32_t i = 0; i < in_values; i++) {
        mean_input += input[i] - ZERO_POINT;
    }
    mean_input /= in_values;

    const int32_t terms = TAPS * layer->in_channels;
    const int32_t log2_terms = 31 - __builtin_clz(terms);
    int8_t *weight = weights;
    for (int32_t channel = 0; channel < layer->out_channels; channel++) {
        int32_t weight_sum = 0;
        for (int32_t term = 0; term < terms; term++) {
            *weight = random_between(-127, 127);
            weight_sum += *weight++;
        }
        biases[channel] = -weight_sum * mean_input;
        multipliers[channel] = (1 << 30) + (int32_t)(random_24_bits() << 6); /* 0.5 to 1 in Q31 */
        shifts[channel] = -(6 + (log2_terms + 1) / 2);
    }
}

/* ---- The layers ------------------------------------------------------------------------------------------------- */

static void double_map(const int8_t *from, int32_t from_side, int32_t channels, int8_t *to)
{
    const int32_t row_bytes = 2 * from_side * channels;
    for (int32_t y = 0; y < from_side; y++) {
        int8_t *const row = to;
        for (int32_t x = 0; x < from_side; x++) {
            arm_memcpy_s8(to, from, channels);
            arm_memcpy_s8(to + channels, from, channels);
            from += channels;
            to += 2 * channels;
        }
        arm_memcpy_s8(to, row, row_bytes);
        to += row_bytes;
    }
}

/* Halves of both inputs at 20 fractional bits, as TensorFlow Lite sets it up; the output is 0.6 of the sum. */
enum { ADD_LEFT_SHIFT = 20, ADD_HALF = 1 << 30, ADD_OUT_MULTIPLIER = 1288490189, ADD_OUT_SHIFT = -19 };

static uint32_t timed_add(const Layer *layer)
{
    const int32_t count = layer->side * layer->side * layer->out_channels;
    const uint32_t start = clock_now();
    const arm_cmsis_nn_status status = arm_elementwise_add_s8(
        input, first_output, -ZERO_POINT, ADD_HALF, 0, -ZERO_POINT, ADD_HALF, 0, ADD_LEFT_SHIFT, output, ZERO_POINT,
        ADD_OUT_MULTIPLIER, ADD_OUT_SHIFT, LOWEST, HIGHEST, count);
    const uint32_t ticks = ticks_since(start);
    if (status != ARM_CMSIS_NN_SUCCESS) {
        fail("arm_elementwise_add_s8");
    }
    return ticks;
}

static uint32_t timed_convolution(const Layer *layer, int32_t *context_size)
{
    const cmsis_nn_conv_params parameters = {
        .input_offset = -ZERO_POINT,
        .output_offset = ZERO_POINT,
        .stride = {1, 1},
        .padding = {PADDING, PADDING},
        .dilation = {1, 1},
        .activation = {LOWEST, HIGHEST},
    };
    const cmsis_nn_per_channel_quant_params scales = {multipliers, shifts};
    const cmsis_nn_dims input_dims = {1, layer->side, layer->side, layer->in_channels};
    const cmsis_nn_dims filter_dims = {layer->out_channels, KERNEL_SIDE, KERNEL_SIDE, layer->in_channels};
    const cmsis_nn_dims bias_dims = {1, 1, 1, layer->out_channels};
    const cmsis_nn_dims output_dims = {1, layer->side, layer->side, layer->out_channels};

    *context_size = arm_convolve_wrapper_s8_get_buffer_size(&parameters, &input_dims, &filter_dims, &output_dims);
    if (*context_size > MAX_CONTEXT) {
        fail("context buffer too small");
    }
    const cmsis_nn_context context = {context_bytes, *context_size};

    const uint32_t start = clock_now();
    const int8_t *map = input;
    if (layer->kind == UP) {
        double_map(input, layer->side / 2, layer->in_channels, doubled);
        map = doubled;
    }
    const arm_cmsis_nn_status status = arm_convolve_wrapper_s8(&context, &parameters, &scales, &input_dims, map,
                                                               &filter_dims, weights, &bias_dims, biases, &output_dims,
                                                               output);
    const uint32_t ticks = ticks_since(start);
    if (status != ARM_CMSIS_NN_SUCCESS) {
        fail("arm_convolve_wrapper_s8");
    }
    return ticks;
}

/* ---- The check -------------------------------------------------------------------------------------------------- */

/* To the nearest, halves up. */
static int64_t rounded_shift(int64_t value, int32_t bits)
{
    return bits == 0 ? value : (value + ((int64_t)1 << (bits - 1))) >> bits;
}

/* value x multiplier / 2^31 x 2^shift, where shift <= 0. */
static int32_t requantised(int32_t value, int32_t multiplier, int32_t shift)
{
    const int64_t product = (int64_t)value * multiplier;
#if defined(CMSIS_NN_USE_SINGLE_ROUNDING)
    return (int32_t)rounded_shift(product, 31 - shift);
#else
    /* Twice, the second time with halves away from zero. */
    const int64_t high = rounded_shift(product, 31);
    return (int32_t)(high < 0 ? -rounded_shift(-high, -shift) : rounded_shift(high, -shift));
#endif
}

static int8_t clamped_output(int32_t value)
{
    value += ZERO_POINT;
    return value < LOWEST ? LOWEST : value > HIGHEST ? HIGHEST : value;
}

static int8_t reference_add(int32_t at)
{
    const int32_t a = (input[at] - ZERO_POINT) << ADD_LEFT_SHIFT;
    const int32_t b = (first_output[at] - ZERO_POINT) << ADD_LEFT_SHIFT;
    const int32_t sum = requantised(a, ADD_HALF, 0) + requantised(b, ADD_HALF, 0);
    return clamped_output(requantised(sum, ADD_OUT_MULTIPLIER, ADD_OUT_SHIFT));
}

static int8_t reference_convolution(const Layer *layer, int32_t y, int32_t x, int32_t out_channel)
{
    const int32_t scale = layer->kind == UP ? 2 : 1;
    const int32_t in_side = layer->side / scale;
    int32_t sum = biases[out_channel];
    for (int32_t row = 0; row < KERNEL_SIDE; row++) {
        for (int32_t column = 0; column < KERNEL_SIDE; column++) {
            const int32_t from_y = y + row - PADDING;
            const int32_t from_x = x + column - PADDING;
            if (from_y < 0 || from_y >= layer->side || from_x < 0 || from_x >= layer->side) {
                continue;
            }
            const int8_t *pixel = input + (from_y / scale * in_side + from_x / scale) * layer->in_channels;
            const int8_t *tap =
                weights + ((out_channel * KERNEL_SIDE + row) * KERNEL_SIDE + column) * layer->in_channels;
            for (int32_t channel = 0; channel < layer->in_channels; channel++) {
                sum += (pixel[channel] - ZERO_POINT) * tap[channel];
            }
        }
    }
    return clamped_output(requantised(sum, multipliers[out_channel], shifts[out_channel]));
}

/* Every value of the output is right, and enough of them are not clamped for that to mean something. */
static void check_output(const Layer *layer)
{
    int32_t unclamped = 0;
    int32_t at = 0;
    for (int32_t y = 0; y < layer->side; y++) {
        for (int32_t x = 0; x < layer->side; x++) {
            for (int32_t channel = 0; channel < layer->out_channels; channel++, at++) {
                const int8_t expected =
                    layer->kind == ADD ? reference_add(at) : reference_convolution(layer, y, x, channel);
                if (output[at] != expected) {
                    fail("a value differs from the reference");
                }
                unclamped += expected > LOWEST && expected < HIGHEST;
            }
        }
    }
    if (unclamped < at / 4) {
        fail("most values are clamped");
    }
}

/* ---- The benchmark ---------------------------------------------------------------------------------------------- */

static bool fits(const Network *network, const Layer *layer)
{
    const int32_t pixels = layer->side * layer->side;
    const int32_t weight_count = layer->kind == ADD ? 0 : layer->out_channels * TAPS * layer->in_channels;
    return layer->out_channels <= MAX_CHANNELS && weight_count <= MAX_WEIGHTS &&
           pixels * layer->out_channels <= MAX_OUTPUT &&
           (layer->kind != UP || pixels * layer->in_channels <= MAX_DOUBLED) &&
           (layer != network->layers || pixels * layer->out_channels <= MAX_FIRST_OUTPUT);
}

static void run_layer(const Network *network, const Layer *layer)
{
    static const char *const KIND_NAMES[] = {[CONV] = "conv", [UP] = "up", [ADD] = "add"};
    const int32_t out_values = layer->side * layer->side * layer->out_channels;
    int32_t macs = 0;
    int32_t context_size = 0;
    uint32_t ticks;
    if (!fits(network, layer)) {
        fail("a layer is larger than its buffers");
    }
    if (layer->kind == ADD) {
        ticks = timed_add(layer);
    } else {
        draw_parameters(layer);
        macs = out_values * TAPS * layer->in_channels;
        ticks = timed_convolution(layer, &context_size);
    }
    check_output(layer);

    print("layer ");
    print(network->name);
    print(" ");
    print(KIND_NAMES[layer->kind]);
    print_number(layer->in_channels);
    print_number(layer->out_channels);
    print_number(layer->side);
    print_number(macs);
    print_number(ticks);
    print_number(context_size);
    print("\n");

    if (layer == network->layers) {
        memcpy(first_output, output, out_values);
    }
    memcpy(input, output, out_values);
}

static void __attribute__((noreturn, used)) run(void)
{
    start_clock();
    calibrate();
    for (unsigned n = 0; n < sizeof NETWORKS / sizeof NETWORKS[0]; n++) {
        const Network *network = &NETWORKS[n];
        const Layer *first = &network->layers[0];
        random_state = n;
        for (int32_t i = 0; i < first->side * first->side * first->in_channels; i++) {
            input[i] = random_between(LOWEST, HIGHEST);
        }
        for (int layer = 0; layer < network->layer_count; layer++) {
            run_layer(network, &network->layers[layer]);
        }
    }
    leave(APPLICATION_EXIT);
}

/* ---- Start ------------------------------------------------------------------------------------------------------ */

#define COPROCESSOR_ACCESS (*(volatile uint32_t *)0xE000ED88)
enum { FULL_ACCESS_TO_FPU_AND_MVE = 0xF << 20 };

static void __attribute__((noreturn, used)) start(void)
{
    COPROCESSOR_ACCESS |= FULL_ACCESS_TO_FPU_AND_MVE;
    __asm volatile("dsb\n isb\n b run");
    __builtin_unreachable();
}

static void __attribute__((noreturn)) fault(void)
{
    fail("the processor faulted");
}

extern uint32_t stack_top[];

/* Stack pointer, reset, NMI, hard fault; the other faults escalate to that while they are off. */
__attribute__((section(".vectors"), used)) static const void *const VECTORS[] = {stack_top, start, fault, fault};
