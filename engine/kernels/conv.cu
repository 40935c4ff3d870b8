// Convolutions as products of matrices in f32. A group's weight is a matrix [rows][terms]; what it
// is multiplied with, [terms][positions], is never written down: each block gathers its tile of it
// from the image while it loads, views included. The positions of all samples lie in one row, so
// that small planes fill a block as well as large ones do.
//
// Forward and input gradient are the same product: the gradient's rows are input channels and its
// terms output channels, and its windows are those that cover a pixel. The weight gradient sums
// over positions, in chunks that `reduce` adds up.
#include "conv.cuh"

struct ConvForward {
    ConvSizes sizes;
    Values x;
    const float *weight, *bias;
    Tensor y;
    Size tile;
};

struct ConvBackwardInput {
    ConvSizes sizes;
    Gradients dy;
    const float *weight;
    Values gate;
    Tensor dx;
    Size tile;
};

struct ConvBackwardWeight {
    ConvSizes sizes;
    Values x;
    Gradients dy;
    float *partial;
    Size out_tile, chunk;
};

struct ConvBackwardBias {
    ConvSizes sizes;
    Gradients dy;
    float *bias_gradient;
};

namespace {

__device__ inline int tiles_of(int size, int tile) { return (size + tile - 1) / tile; }

// Four positions, one after the other in the row of all samples' positions: where the first lies,
// and how many of them there are.
struct Quad {
    int n, at, count;
};

__device__ inline Quad quad_at(int position, int positions, int plane) {
    int left = positions - position;
    return {position / plane, position % plane, left < 0 ? 0 : left < 4 ? left : 4};
}

// What a position sees of an image: the pixels under its window; as a pixel itself, the windows
// that cover it; or the pixel where it is.
enum class Sight { WINDOW, COVERS, SELF };

__device__ inline bool directions_differ(const ConvSizes &sizes) {
    return sizes.kernel != sizes.kernel_across || sizes.stride != sizes.stride_across || sizes.padding != sizes.padding_across;
}

// The matrix [terms][positions] of what positions see; a term is a channel of the group and a tap
// of the kernel. Only what the common case needs is kept at hand. Where the directions differ, more
// is: these have one kind of tile, a small one, so that it fits into registers.
template <class Source, Sight SIGHT, bool DIFFER = false> struct Seen {
    const ConvSizes &sizes;
    const Source &source;
    // Channels of the image, and the group's first.
    int channels, first;
    int terms, positions, plane;
    // Whether terms are channels and quads of positions quads in memory.
    bool direct;

    __device__ Seen(const ConvSizes &sizes, const Source &source, int group) : sizes(sizes), source(source) {
        int groups = (int)sizes.groups, taps = SIGHT == Sight::SELF ? 1 : (int)(sizes.kernel * sizes.kernel_across);
        bool whole = sizes.out_height == sizes.height && sizes.out_width == sizes.width;
        bool still = SIGHT == Sight::SELF || (!DIFFER && taps == 1 && sizes.stride == 1 && whole);
        channels = SIGHT == Sight::WINDOW ? (int)sizes.channels : (int)sizes.out;
        first = channels / groups * group;
        terms = channels / groups * taps;
        plane = SIGHT == Sight::COVERS ? (int)(sizes.height * sizes.width) : (int)(sizes.out_height * sizes.out_width);
        positions = (int)sizes.batch * plane;
        direct = still && plane % 4 == 0;
    }

    __device__ Quad quad(int position) const { return quad_at(position, positions, plane); }

    // Row or column of the image that a tap sees, or -1 where there is none.
    template <bool ACROSS> __device__ int seen(int at, int tap, int size) const {
        if (SIGHT == Sight::SELF) {
            return at;
        }
        constexpr bool OTHER = DIFFER && ACROSS;
        int stride = (int)(OTHER ? sizes.stride_across : sizes.stride), padding = (int)(OTHER ? sizes.padding_across : sizes.padding);
        int offset = tap * (int)sizes.dilation;
        int from = SIGHT == Sight::COVERS ? at + padding - offset : at * stride - padding + offset;
        if (SIGHT == Sight::COVERS && stride > 1 && from >= 0) {
            from = from % stride ? -1 : from / stride;
        }
        return from < size ? from : -1;
    }

    __device__ float4 gather(int term, const Quad &quad) const {
        float4 values = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (term >= terms) {
            return values;
        }
        int kernel = SIGHT == Sight::SELF ? 1 : (int)(DIFFER ? sizes.kernel_across : sizes.kernel);
        int taps = DIFFER ? (int)sizes.kernel * kernel : kernel * kernel;
        int columns = SIGHT == Sight::COVERS ? (int)sizes.width : (int)sizes.out_width, rows = plane / columns;
        int height = SIGHT == Sight::WINDOW ? (int)sizes.height : (int)sizes.out_height;
        int width = SIGHT == Sight::WINDOW ? (int)sizes.width : (int)sizes.out_width;
        int channel = first + term / taps, down = term % taps / kernel, across = term % kernel;
        int n = quad.n, y = quad.at / columns, x = quad.at % columns;
#pragma unroll 2
        for (int i = 0; i < 4; i++) {
            int row = seen<false>(y, down, height), column = seen<true>(x, across, width);
            bool inside = i < quad.count && row >= 0 && column >= 0;
            Size at = (((Size)n * channels + channel) * height + row) * width + column;
            values = make_float4(values.y, values.z, values.w, inside ? load(source, plane_of(source, n, channel), at) : 0.0f);
            if (++x == columns) {
                x = 0;
                if (++y == rows) {
                    y = 0;
                    n++;
                }
            }
        }
        return values;
    }
};

// A thread's part of LINES terms of a matrix at QUADS quads of positions, on its way to shared
// memory in rows PITCH quads apart. The threads of a line lie side by side; each stays with its
// quad.
template <int LINES, int QUADS, int PITCH, class Source> struct Load {
    static constexpr int AT_ONCE = THREADS / QUADS;
    static constexpr int HELD = (LINES + AT_ONCE - 1) / AT_ONCE;
    decltype(fetch(*(const Source *)nullptr, Size())) held[HELD];

    static __device__ int my_quad() { return threadIdx.x % QUADS; }
    static __device__ int my_line(int i) { return threadIdx.x / QUADS + i * AT_ONCE; }

    template <Sight SIGHT, bool DIFFER> __device__ void begin(const Seen<Source, SIGHT, DIFFER> &seen, int first, const Quad &quad) {
        if (!seen.direct || quad.count == 0) {
            return;
        }
        Size plane = seen.plane, start = ((Size)quad.n * seen.channels + seen.first) * plane + quad.at;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            int line = my_line(i), term = first + line;
            if (line < LINES && term < seen.terms) {
                held[i] = fetch(seen.source, start + term * plane);
            }
        }
    }

    template <Sight SIGHT, bool DIFFER>
    __device__ void finish(const Seen<Source, SIGHT, DIFFER> &seen, int first, const Quad &quad, float4 *to) const {
        if (!seen.direct) {
            // Rare and long: it must not take registers from the rest by being unrolled.
#pragma unroll 1
            for (int line = my_line(0); line < LINES; line += AT_ONCE) {
                to[line * PITCH + my_quad()] = seen.gather(first + line, quad);
            }
            return;
        }
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            int line = my_line(i), term = first + line;
            if (line < LINES) {
                float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (quad.count > 0 && term < seen.terms) {
                    value = settle(seen.source, plane_of(seen.source, quad.n, seen.first + term), held[i]);
                }
                to[line * PITCH + my_quad()] = value;
            }
        }
    }
};

// The weight of a group as a matrix [rows][terms]: of output channels and what windows see, or of
// input channels and what covers them.
template <Sight SIGHT> struct Weight {
    const float *data;
    int rows, terms;
    int taps;

    __device__ Weight(const ConvSizes &sizes, const float *weight, int group) {
        int groups = (int)sizes.groups, outputs = (int)sizes.out / groups, inputs = (int)sizes.channels / groups;
        taps = (int)(sizes.kernel * sizes.kernel_across);
        data = weight + (Size)group * outputs * inputs * taps;
        rows = SIGHT == Sight::COVERS ? inputs : outputs;
        terms = (SIGHT == Sight::COVERS ? outputs : inputs) * taps;
    }

    __device__ Size place(int row, int term) const {
        return SIGHT == Sight::COVERS ? ((Size)(term / taps) * rows + row) * taps + term % taps : (Size)row * terms + term;
    }

    // From one row to the next.
    __device__ Size stride() const { return SIGHT == Sight::COVERS ? taps : terms; }
};

// The image that a product becomes.
struct Result {
    Target target;
    int channels, plane;

    // Whether quads of positions are quads in memory.
    __device__ bool whole() const { return plane % 4 == 0; }

    // Writes one element, or a quad of them.
    template <class Value> __device__ void write(int channel, int n, int at, Value value) const {
        target.write(n, channel, ((Size)n * channels + channel) * plane + at, value);
    }
};

__device__ inline Result result_of(const ConvForward &problem) {
    const ConvSizes &sizes = problem.sizes;
    return {{problem.y, problem.bias, nullptr}, (int)sizes.out, (int)(sizes.out_height * sizes.out_width)};
}

__device__ inline Result result_of(const ConvBackwardInput &problem) {
    const ConvSizes &sizes = problem.sizes;
    const Values *gate = problem.gate.x.data ? &problem.gate : nullptr;
    return {{problem.dx, nullptr, gate}, (int)sizes.channels, (int)(sizes.height * sizes.width)};
}

// Terms that a block multiplies between two barriers.
constexpr int STEP = 16;
constexpr int MOST_POSITIONS = 256;
constexpr int MOST_ROWS = 72;
constexpr int PRODUCT_QUADS = STEP * (MOST_POSITIONS / 4 + MOST_ROWS / 4 + 1);

__device__ inline float element(float4 four, int i) { return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w; }

__device__ inline void add_product(float4 &sum, float a, float4 b) {
    sum.x = fmaf(a, b.x, sum.x);
    sum.y = fmaf(a, b.y, sum.y);
    sum.z = fmaf(a, b.z, sum.z);
    sum.w = fmaf(a, b.w, sum.w);
}

// The tile of a product that block `block` takes: those of the same positions lie next to one
// another, as they read the same.
struct Place {
    int row, group, tile;
};

__device__ inline Place place_of(int block, int rows, int row_tile, int groups) {
    int row_tiles = tiles_of(rows, row_tile);
    return {block % row_tiles * row_tile, block / row_tiles % groups, block / row_tiles / groups};
}

// A thread's part of ROWS rows and STEP terms of a weight, on its way to shared memory as
// [STEP][PITCH]. Neighbouring threads take what lies side by side: terms, or, where the weight is
// turned, rows.
template <int ROWS, int PITCH, Sight SIGHT> struct LoadWeight {
    static constexpr int AT_ONCE = THREADS / STEP;
    static constexpr int HELD = (ROWS + AT_ONCE - 1) / AT_ONCE;
    float held[HELD];

    static __device__ int my_row() { return SIGHT == Sight::COVERS ? threadIdx.x % AT_ONCE : threadIdx.x / STEP; }
    static __device__ int my_term() { return SIGHT == Sight::COVERS ? threadIdx.x / AT_ONCE : threadIdx.x % STEP; }

    __device__ void begin(const Weight<SIGHT> &weight, int first_row, int first_term) {
        int row = first_row + my_row(), term = first_term + my_term();
        const float *from = weight.data + weight.place(row, term);
        Size stride = weight.stride() * AT_ONCE;
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            bool there = my_row() + i * AT_ONCE < ROWS && row + i * AT_ONCE < weight.rows && term < weight.terms;
            held[i] = there ? from[i * stride] : 0.0f;
        }
    }

    __device__ void finish(float *to) const {
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            if (my_row() + i * AT_ONCE < ROWS) {
                to[my_term() * PITCH + my_row() + i * AT_ONCE] = held[i];
            }
        }
    }
};

// One tile of a product. DOWN warps lie below one another and take ROWS rows each; each warp takes
// 128 positions, four a lane. So a warp reads its weights from one place, all lanes at once. Its
// rows are a part that is read in fours, and the rest; the tile has first the fours of all warps
// and then what is left of each.
template <int DOWN, int ROWS, class Problem, class Source, Sight SIGHT, bool DIFFER>
__device__ void product(const Problem &problem, const Seen<Source, SIGHT, DIFFER> &seen, const Weight<SIGHT> &weight, const Place &place,
                        float4 *shared) {
    constexpr int QUADS = THREADS / DOWN, FOURS = ROWS / 4 * 4;
    // An odd number of fours, so that turning a weight round meets few conflicts.
    constexpr int PITCH = (DOWN * ROWS / 4 | 1) * 4;
    static_assert(STEP * (QUADS + PITCH / 4) <= PRODUCT_QUADS, "tiles lie in shared memory");
    float4 *columns = shared;
    float *weights = (float *)(shared + STEP * QUADS);
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int down = warp % DOWN, mine = warp / DOWN * WARP + lane;
    int fours = down * FOURS, rest = DOWN * FOURS + down * (ROWS - FOURS);
    Load<STEP, QUADS, QUADS, Source> load;
    LoadWeight<DOWN * ROWS, PITCH, SIGHT> load_weight;
    Quad loaded = seen.quad((place.tile * QUADS + load.my_quad()) * 4);
    float4 sums[ROWS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        sums[row] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    load.begin(seen, 0, loaded);
    load_weight.begin(weight, place.row, 0);
    for (int first = 0; first < seen.terms; first += STEP) {
        load_weight.finish(weights);
        load.finish(seen, first, loaded, columns);
        __syncthreads();
        // The next terms are on their way while these are multiplied.
        load.begin(seen, first + STEP, loaded);
        load_weight.begin(weight, place.row, first + STEP);
#pragma unroll 4
        for (int term = 0; term < STEP; term++) {
            float4 column = columns[term * QUADS + mine];
#pragma unroll
            for (int row = 0; row < FOURS; row += 4) {
                float4 four = *(const float4 *)(weights + term * PITCH + fours + row);
                add_product(sums[row], four.x, column);
                add_product(sums[row + 1], four.y, column);
                add_product(sums[row + 2], four.z, column);
                add_product(sums[row + 3], four.w, column);
            }
#pragma unroll
            for (int row = FOURS; row < ROWS; row++) {
                add_product(sums[row], weights[term * PITCH + rest + row - FOURS], column);
            }
        }
        __syncthreads();
    }
    // Made only now, so that it does not take registers from the loop.
    Result result = result_of(problem);
    Quad written = seen.quad((place.tile * QUADS + mine) * 4);
    if (result.whole()) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            int row = place.row + (i < FOURS ? fours + i : rest + i - FOURS);
            if (row < weight.rows && written.count > 0) {
                result.write(place.group * weight.rows + row, written.n, written.at, sums[i]);
            }
        }
        return;
    }
    // Rare and long: rolled up, with a look-up instead of an index, for which the sums would have
    // to leave their registers.
#pragma unroll 1
    for (int e = 0; e < ROWS * written.count; e++) {
        int i = e / written.count, at = written.at + e % written.count;
        int row = place.row + (i < FOURS ? fours + i : rest + i - FOURS);
        float value = 0.0f;
#pragma unroll
        for (int j = 0; j < ROWS; j++) {
            value = i == j ? element(sums[j], e % written.count) : value;
        }
        if (row < weight.rows) {
            result.write(place.group * weight.rows + row, written.n + at / result.plane, at % result.plane, value);
        }
    }
}

// The rows of a tile name its kind; `PRODUCT_TILES` in problems/conv.rs lists them with their
// positions.
template <class Problem, class Source, Sight SIGHT>
__device__ inline void product_of(const Problem &problem, const Seen<Source, SIGHT> &seen, const Weight<SIGHT> &weight,
                                  const Place &place, float4 *shared) {
    switch (problem.tile) {
    case 16:
        product<4, 4>(problem, seen, weight, place, shared);
        break;
    case 36:
        product<4, 9>(problem, seen, weight, place, shared);
        break;
    default:
        product<8, 9>(problem, seen, weight, place, shared);
        break;
    }
}

// Positions that a block of the weight gradient takes between two barriers, in quads.
constexpr int SPAN = 16;
constexpr int SPAN_PITCH = SPAN + 1;
// Threads that share a tile, along outputs and along terms. There are four such squares in a block;
// each takes its part of the positions.
constexpr int SIDE = 8;
constexpr int SQUARES = THREADS / (SIDE * SIDE);
constexpr int MOST_LINES = 5 * SIDE;
constexpr int WEIGHT_QUADS = 2 * MOST_LINES * SPAN_PITCH;

__device__ inline float add_dot(float sum, float4 a, float4 b) {
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

// One tile of a weight gradient over one chunk of positions; a thread has OUTS times TERMS
// elements, SIDE apart, so that neighbouring threads read neighbouring lines of shared memory.
template <int OUTS, int TERMS, bool DIFFER> __device__ void weight_product(const ConvBackwardWeight &problem, int block, float4 *shared) {
    constexpr int OUT_LINES = OUTS * SIDE, TERM_LINES = TERMS * SIDE;
    static_assert(OUT_LINES <= MOST_LINES && TERM_LINES <= MOST_LINES, "tiles lie in shared memory");
    static_assert(OUT_LINES * TERM_LINES <= WEIGHT_QUADS * 4, "sums lie in shared memory");
    float4 *dy_tile = shared, *x_tile = shared + OUT_LINES * SPAN_PITCH;
    int groups = (int)problem.sizes.groups;
    Place place = place_of(block, (int)problem.sizes.out / groups, OUT_LINES, groups);
    Seen<Gradients, Sight::SELF> dy(problem.sizes, problem.dy, place.group);
    Seen<Values, Sight::WINDOW, DIFFER> x(problem.sizes, problem.x, place.group);
    int term_tiles = tiles_of(x.terms, TERM_LINES), chunk = place.tile / term_tiles;
    int first_out = place.row, first_term = place.tile % term_tiles * TERM_LINES;
    int begin = chunk * (int)problem.chunk, end = begin + (int)problem.chunk;
    end = end < x.positions ? end : x.positions;
    int square = threadIdx.x / (SIDE * SIDE), out = threadIdx.x / SIDE % SIDE, term = threadIdx.x % SIDE;
    float sums[OUTS][TERMS] = {};
    Load<OUT_LINES, SPAN, SPAN_PITCH, Gradients> dy_load;
    Load<TERM_LINES, SPAN, SPAN_PITCH, Values> x_load;
    Quad quad = dy.quad(begin + dy_load.my_quad() * 4);
    dy_load.begin(dy, first_out, quad);
    x_load.begin(x, first_term, quad);
    for (int first = begin; first < end; first += SPAN * 4) {
        dy_load.finish(dy, first_out, quad, dy_tile);
        x_load.finish(x, first_term, quad, x_tile);
        __syncthreads();
        // The next positions are on their way while these are multiplied.
        quad = dy.quad(first + (SPAN + dy_load.my_quad()) * 4);
        if (first + SPAN * 4 < end) {
            dy_load.begin(dy, first_out, quad);
            x_load.begin(x, first_term, quad);
        }
#pragma unroll 1
        for (int at = square; at < SPAN; at += SQUARES) {
            float4 terms[TERMS];
#pragma unroll
            for (int j = 0; j < TERMS; j++) {
                terms[j] = x_tile[(term + j * SIDE) * SPAN_PITCH + at];
            }
#pragma unroll
            for (int i = 0; i < OUTS; i++) {
                float4 gradient = dy_tile[(out + i * SIDE) * SPAN_PITCH + at];
#pragma unroll
                for (int j = 0; j < TERMS; j++) {
                    sums[i][j] = add_dot(sums[i][j], gradient, terms[j]);
                }
            }
        }
        __syncthreads();
    }
    // The squares add up one after the other, so that the order is the same every time.
    float *total = (float *)shared;
    for (int turn = 0; turn < SQUARES; turn++) {
        if (turn == square) {
#pragma unroll
            for (int i = 0; i < OUTS; i++) {
#pragma unroll
                for (int j = 0; j < TERMS; j++) {
                    float &sum = total[(out + i * SIDE) * TERM_LINES + term + j * SIDE];
                    sum = turn == 0 ? sums[i][j] : sum + sums[i][j];
                }
            }
        }
        __syncthreads();
    }
    float *to = problem.partial + ((Size)chunk * groups + place.group) * dy.terms * x.terms;
    for (int e = threadIdx.x; e < OUT_LINES * TERM_LINES; e += THREADS) {
        int row = first_out + e / TERM_LINES, column = first_term + e % TERM_LINES;
        if (row < dy.terms && column < x.terms) {
            to[(Size)row * x.terms + column] = total[e];
        }
    }
}

// Not part of the kernel that calls it, whose registers it would take.
__device__ __attribute__((noinline)) void weight_product_of_differing(const ConvBackwardWeight &problem, int block, float4 *shared) {
    weight_product<2, 4, true>(problem, block, shared);
}

} // namespace

SUM_KERNEL conv_forward(const ConvForward *problems, const unsigned *first, unsigned count) {
    __shared__ float4 shared[PRODUCT_QUADS];
    auto work = find_work(problems, first, count);
    const ConvForward &problem = work.problem;
    int groups = (int)problem.sizes.groups;
    Place place = place_of(work.block, (int)problem.sizes.out / groups, (int)problem.tile, groups);
    Weight<Sight::WINDOW> weight(problem.sizes, problem.weight, place.group);
    if (directions_differ(problem.sizes)) {
        Seen<Values, Sight::WINDOW, true> seen(problem.sizes, problem.x, place.group);
        return product<4, 4>(problem, seen, weight, place, shared);
    }
    Seen<Values, Sight::WINDOW> seen(problem.sizes, problem.x, place.group);
    product_of(problem, seen, weight, place, shared);
}

SUM_KERNEL conv_backward_input(const ConvBackwardInput *problems, const unsigned *first, unsigned count) {
    __shared__ float4 shared[PRODUCT_QUADS];
    auto work = find_work(problems, first, count);
    const ConvBackwardInput &problem = work.problem;
    int groups = (int)problem.sizes.groups;
    Place place = place_of(work.block, (int)problem.sizes.channels / groups, (int)problem.tile, groups);
    Weight<Sight::COVERS> weight(problem.sizes, problem.weight, place.group);
    if (directions_differ(problem.sizes)) {
        Seen<Gradients, Sight::COVERS, true> seen(problem.sizes, problem.dy, place.group);
        return product<4, 4>(problem, seen, weight, place, shared);
    }
    Seen<Gradients, Sight::COVERS> seen(problem.sizes, problem.dy, place.group);
    product_of(problem, seen, weight, place, shared);
}

SUM_KERNEL conv_backward_weight(const ConvBackwardWeight *problems, const unsigned *first, unsigned count) {
    __shared__ float4 shared[WEIGHT_QUADS];
    auto work = find_work(problems, first, count);
    if (directions_differ(work.problem.sizes)) {
        return weight_product_of_differing(work.problem, work.block, shared);
    }
    // The tiles are those of `WEIGHT_TILES` in problems/conv.rs.
    switch (work.problem.out_tile) {
    case 16:
        weight_product<2, 4, false>(work.problem, work.block, shared);
        break;
    case 32:
        weight_product<4, 4, false>(work.problem, work.block, shared);
        break;
    default:
        weight_product<5, 5, false>(work.problem, work.block, shared);
        break;
    }
}

// A block sums one channel.
KERNEL conv_backward_bias(const ConvBackwardBias *problems, const unsigned *first, unsigned count) {
    __shared__ float scratch[THREADS / WARP];
    auto work = find_work(problems, first, count);
    const ConvBackwardBias &problem = work.problem;
    int batch = (int)problem.sizes.batch, channels = (int)problem.sizes.out, channel = work.block;
    int plane = (int)(problem.sizes.out_height * problem.sizes.out_width);
    float sum = 0.0f;
    for (int position = threadIdx.x; position < batch * plane; position += THREADS) {
        int n = position / plane;
        Size at = ((Size)n * channels + channel) * plane + position % plane;
        sum += load(problem.dy, plane_of(problem.dy, n, channel), at);
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        problem.bias_gradient[channel] = sum;
    }
}
