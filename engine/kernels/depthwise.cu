// Convolutions that have a kernel of their own for each channel. A block brings tiles of planes
// into shared memory, with what surrounds them and as their readers see them, and each of its
// threads makes four neighbouring elements from that.
//
// The input gradient is a convolution too, of the kernel turned round and, where the stride is
// larger than one, of a gradient with zeros between its elements; the zeros arise where the tile is
// filled.
#include "conv.cuh"

// How the planes that are made, or summed over, are dealt out: a block takes `rows` rows and
// `quads` times four columns of each of `planes` planes; `down` times `across` such tiles make up a
// plane. What a tile reads of one plane takes `height` rows of `pitch` floats in shared memory.
// `Tiling` in problems/depthwise.rs sees to it that there are threads and memory for it.
struct Tiling {
    Size rows, quads, planes, down, across, height, pitch;
};

struct DepthwiseForward {
    ConvSizes sizes;
    Values x;
    const float *weight, *bias;
    Tensor y;
    Tiling tiling;
};

struct DepthwiseBackwardInput {
    ConvSizes sizes;
    Gradients dy;
    const float *weight;
    Values gate;
    Tensor dx;
    Tiling tiling;
};

// A block takes `items` tiles of one channel, one after the other; the tiles of a channel are
// counted through all samples.
struct DepthwiseBackwardWeight {
    ConvSizes sizes;
    Values x;
    Gradients dy;
    float *partial;
    Tiling tiling;
    Size items;
};

namespace {

// As in problems/depthwise.rs.
constexpr int TILE_FLOATS = 7168;
constexpr int MOST_PLANES = 16;
constexpr int MOST_KERNEL = 7;
// Between the rows of a kernel in shared memory, so that they are read in fours.
constexpr int KERNEL_PITCH = 8;

// WIDTH neighbouring elements as their readers see them; four begin at a multiple of four.
template <int WIDTH, class Source, class Seen> __device__ inline void read(const Source &source, const Seen &seen, Size i, float *to) {
    if (WIDTH == 1) {
        to[0] = load(source, seen, i);
    } else {
        float4 four = settle(source, seen, fetch(source, i));
        to[0] = four.x;
        to[1] = four.y;
        to[2] = four.z;
        to[3] = four.w;
    }
}

// The planes of an image.
struct Image {
    int channels, height, width;

    __device__ Size place(int plane, int row, int column) const { return ((Size)plane * height + row) * width + column; }

    // Whether rows consist of whole quads in memory.
    __device__ bool whole() const { return width % 4 == 0; }
};

// What a block has in shared memory: of planes `plane`, `plane + step`, …, all numbered through all
// samples, a piece that begins at (top, left), which may lie outside. Elements of the image are
// `spread` apart in it, with zeros between them.
struct Piece {
    int plane, step, planes;
    int top, left, height, pitch;
    int spread;
};

// The elements from `begin` to `end` of a row or column of the image that lie in a piece of `size`
// places from `from` on.
struct Range {
    int begin, end;
};

__device__ inline Range range_of(int from, int size, int spread, int image) {
    int begin = from <= 0 ? 0 : (from + spread - 1) / spread;
    int last = from + size - 1, end = last < 0 ? 0 : last / spread + 1;
    end = end < image ? end : image;
    return {begin, end > begin ? end : begin};
}

// Fills the inside of a piece; WIDTH elements of a row are moved at once.
template <int WIDTH, class Source> __device__ void fill_inside(const Source &source, const Image &image, const Piece &piece, float *tile) {
    Range rows = range_of(piece.top, piece.height, piece.spread, image.height);
    Range columns = range_of(piece.left, piece.pitch, piece.spread, image.width);
    int first = columns.begin / WIDTH, across = (columns.end - first * WIDTH + WIDTH - 1) / WIDTH;
    int down = rows.end - rows.begin, units = piece.planes * down * across;
    for (int unit = threadIdx.x; unit < units; unit += THREADS) {
        int column = (first + unit % across) * WIDTH, row = rows.begin + unit / across % down, at = unit / across / down;
        int plane = piece.plane + at * piece.step;
        auto seen = plane_of(source, plane / image.channels, plane % image.channels);
        Size place = image.place(plane, row, column);
        float *to = tile + (at * piece.height + row * piece.spread - piece.top) * piece.pitch;
        float values[WIDTH];
        read<WIDTH>(source, seen, place, values);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            int x = (column + i) * piece.spread - piece.left;
            if (x >= 0 && x < piece.pitch) {
                to[x] = values[i];
            }
        }
    }
}

// Fills a piece. All threads must have done with what was there before.
template <class Source> __device__ void fill(const Source &source, const Image &image, const Piece &piece, float4 *tile) {
    int quads = piece.planes * piece.height * piece.pitch / 4;
    for (int i = threadIdx.x; i < quads; i += THREADS) {
        tile[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __syncthreads();
    if (image.whole()) {
        fill_inside<4>(source, image, piece, (float *)tile);
    } else {
        fill_inside<1>(source, image, piece, (float *)tile);
    }
    __syncthreads();
}

// Where a tile lies in its plane.
struct Corner {
    int row, column;
};

__device__ inline Corner corner_of(const Tiling &tiling, int tile) {
    int across = (int)tiling.across;
    return {tile / across * (int)tiling.rows, tile % across * (int)tiling.quads * 4};
}

// A thread's four elements: in which plane of the block, in which row and from which column on.
struct Mine {
    int plane, row, column;
};

__device__ inline Mine mine_of(const Tiling &tiling) {
    int rows = (int)tiling.rows, quads = (int)tiling.quads, quad = threadIdx.x;
    return {quad / quads / rows, quad / quads % rows, quad % quads * 4};
}

// The first element that a thread's windows see.
__device__ inline const float *windows_of(const Tiling &tiling, int stride, const float4 *tile) {
    Mine mine = mine_of(tiling);
    return (const float *)tile + (mine.plane * (int)tiling.height + mine.row * stride) * (int)tiling.pitch + mine.column * stride;
}

// A kernel's taps on four neighbouring windows. What they need of a row is read at once; DILATION
// and STRIDE of zero stand for any, which are only known at run time.
template <int KERNEL_SIZE, int DILATION, int STRIDE> struct Taps {
    static constexpr int SPAN = 3 * STRIDE + (KERNEL_SIZE - 1) * DILATION + 1;
    static constexpr int FOURS = (SPAN + 3) / 4;
    float x[FOURS * 4];

    __device__ Taps(const float *row, int, int) {
#pragma unroll
        for (int i = 0; i < FOURS; i++) {
            float4 four = *(const float4 *)(row + i * 4);
            x[i * 4] = four.x;
            x[i * 4 + 1] = four.y;
            x[i * 4 + 2] = four.z;
            x[i * 4 + 3] = four.w;
        }
    }

    __device__ float4 seen(int tap) const {
        const float *first = x + tap * DILATION;
        return make_float4(first[0], first[STRIDE], first[2 * STRIDE], first[3 * STRIDE]);
    }
};

template <int KERNEL_SIZE> struct Taps<KERNEL_SIZE, 0, 0> {
    const float *row;
    int dilation, stride;

    __device__ Taps(const float *row, int dilation, int stride) : row(row), dilation(dilation), stride(stride) {}

    __device__ float4 seen(int tap) const {
        const float *first = row + tap * dilation;
        return make_float4(first[0], first[stride], first[2 * stride], first[3 * stride]);
    }
};

// Calls `f` with Taps of the kernel, or of its fast forms where dilation and stride allow one.
template <int KERNEL_SIZE, class Function> __device__ inline void with_taps(int dilation, int stride, const Function &f) {
    if (stride == 1 && dilation == 1) {
        f.template run<Taps<KERNEL_SIZE, 1, 1>>();
    } else if (stride == 1 && dilation == 2) {
        f.template run<Taps<KERNEL_SIZE, 2, 1>>();
    } else if (stride == 2 && dilation == 1) {
        f.template run<Taps<KERNEL_SIZE, 1, 2>>();
    } else if (stride == 2 && dilation == 2) {
        f.template run<Taps<KERNEL_SIZE, 2, 2>>();
    } else {
        f.template run<Taps<KERNEL_SIZE, 0, 0>>();
    }
}

// Adds up a kernel over four windows.
template <int KERNEL_SIZE> struct Correlate {
    const float *tile, *kernel;
    int pitch, dilation, stride;
    float4 &sums;

    template <class TapsOf> __device__ void run() const {
#pragma unroll
        for (int down = 0; down < KERNEL_SIZE; down++) {
            TapsOf taps(tile + down * dilation * pitch, dilation, stride);
            const float4 *fours = (const float4 *)(kernel + down * KERNEL_PITCH);
            float4 low = fours[0], high = KERNEL_SIZE > 4 ? fours[1] : low;
            const float weights[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int across = 0; across < KERNEL_SIZE; across++) {
                float4 x = taps.seen(across);
                sums.x = fmaf(weights[across], x.x, sums.x);
                sums.y = fmaf(weights[across], x.y, sums.y);
                sums.z = fmaf(weights[across], x.z, sums.z);
                sums.w = fmaf(weights[across], x.w, sums.w);
            }
        }
    }
};

template <int KERNEL_SIZE> __device__ inline float4 correlate(const float *tile, int pitch, const float *kernel, int dilation, int stride) {
    float4 sums = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    with_taps<KERNEL_SIZE>(dilation, stride, Correlate<KERNEL_SIZE>{tile, kernel, pitch, dilation, stride, sums});
    return sums;
}

// Adds up the products of four gradients with what each tap saw.
template <int KERNEL_SIZE> struct Contribute {
    const float *tile;
    int pitch, dilation, stride;
    float4 dy;
    float *sums;

    template <class TapsOf> __device__ void run() const {
#pragma unroll
        for (int down = 0; down < KERNEL_SIZE; down++) {
            TapsOf taps(tile + down * dilation * pitch, dilation, stride);
#pragma unroll
            for (int across = 0; across < KERNEL_SIZE; across++) {
                float4 x = taps.seen(across);
                float &sum = sums[down * KERNEL_SIZE + across];
                sum = fmaf(dy.x, x.x, fmaf(dy.y, x.y, fmaf(dy.z, x.z, fmaf(dy.w, x.w, sum))));
            }
        }
    }
};

// Brings the kernels of the planes of a piece to shared memory, turned round where wanted.
__device__ inline void bring_kernels(const float *weight, int kernel, bool turned, const Piece &piece, int channels, float *to) {
    int taps = kernel * kernel;
    for (int i = threadIdx.x; i < piece.planes * taps; i += THREADS) {
        int plane = i / taps, tap = i % taps;
        float value = weight[(piece.plane + plane * piece.step) % channels * taps + (turned ? taps - 1 - tap : tap)];
        to[(plane * MOST_KERNEL + tap / kernel) * KERNEL_PITCH + tap % kernel] = value;
    }
}

// The image that a convolution makes.
struct Result {
    Target target;
    Image image;

    // Writes as many of four elements as lie in the row.
    __device__ void write(int plane, int row, int column, float4 value) const {
        int n = plane / image.channels, channel = plane % image.channels;
        Size place = image.place(plane, row, column);
        if (image.whole()) {
            target.write(n, channel, place, value);
            return;
        }
        const float values[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (column + i < image.width) {
                target.write(n, channel, place + i, values[i]);
            }
        }
    }
};

// A convolution of `image` with windows `stride` apart, the first of which begins `padding` before
// the first of the image's elements, which are `spread` apart.
struct Convolution {
    Image image;
    int batch, kernel, stride, padding, dilation, spread;
    const float *weight;
    bool turned;
};

// One tile of as many planes as a block takes.
template <class Source>
__device__ void convolve(const Convolution &c, const Source &source, const Result &result, const Tiling &tiling, int block, float4 *tile,
                         float *kernels) {
    int tiles = (int)(tiling.down * tiling.across), planes = (int)tiling.planes, first = block / tiles * planes;
    int left = c.batch * c.image.channels - first;
    Corner corner = corner_of(tiling, block % tiles);
    Piece piece = {first,
                   1,
                   planes < left ? planes : left,
                   corner.row * c.stride - c.padding,
                   corner.column * c.stride - c.padding,
                   (int)tiling.height,
                   (int)tiling.pitch,
                   c.spread};
    bring_kernels(c.weight, c.kernel, c.turned, piece, c.image.channels, kernels);
    fill(source, c.image, piece, tile);
    Mine mine = mine_of(tiling);
    int row = corner.row + mine.row, column = corner.column + mine.column;
    if (mine.plane >= piece.planes || row >= result.image.height || column >= result.image.width) {
        return;
    }
    const float *windows = windows_of(tiling, c.stride, tile);
    const float *kernel = kernels + mine.plane * MOST_KERNEL * KERNEL_PITCH;
    float4 sums;
    switch (c.kernel) {
    case 3:
        sums = correlate<3>(windows, piece.pitch, kernel, c.dilation, c.stride);
        break;
    case 5:
        sums = correlate<5>(windows, piece.pitch, kernel, c.dilation, c.stride);
        break;
    default:
        sums = correlate<7>(windows, piece.pitch, kernel, c.dilation, c.stride);
        break;
    }
    result.write(piece.plane + mine.plane, row, column, sums);
}

// Four gradients of a row, and zeros beyond its end.
__device__ inline float4 gradients_at(const Gradients &dy, const Image &image, int plane, int row, int column) {
    GradientPlane seen = plane_of(dy, plane / image.channels, plane % image.channels);
    Size place = image.place(plane, row, column);
    if (image.whole()) {
        float values[4];
        read<4>(dy, seen, place, values);
        return make_float4(values[0], values[1], values[2], values[3]);
    }
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        values[i] = column + i < image.width ? load(dy, seen, place + i) : 0.0f;
    }
    return make_float4(values[0], values[1], values[2], values[3]);
}

// A thread's gradients in one tile, if there are any.
struct Gradient {
    bool any;
    float4 dy;
};

// Brings one of a channel's tiles of x to shared memory, and this thread's gradients. What it needs
// to know is read anew for each tile, as the sums take most registers.
__device__ inline Gradient bring_item(const DepthwiseBackwardWeight &problem, int channel, int item, float4 *tile) {
    const ConvSizes &sizes = problem.sizes;
    const Tiling &tiling = problem.tiling;
    int channels = (int)sizes.channels, tiles = (int)(tiling.down * tiling.across), planes = (int)tiling.planes;
    int sample = item / tiles * planes, left = (int)sizes.batch - sample, padding = (int)sizes.padding, stride = (int)sizes.stride;
    Corner corner = corner_of(tiling, item % tiles);
    Piece piece = {sample * channels + channel,
                   channels,
                   planes < left ? planes : left,
                   corner.row * stride - padding,
                   corner.column * stride - padding,
                   (int)tiling.height,
                   (int)tiling.pitch,
                   1};
    Image image = {channels, (int)sizes.height, (int)sizes.width}, out = {channels, (int)sizes.out_height, (int)sizes.out_width};
    Mine mine = mine_of(tiling);
    int row = corner.row + mine.row, column = corner.column + mine.column;
    Gradient gradient = {mine.plane < piece.planes && row < out.height && column < out.width, make_float4(0.0f, 0.0f, 0.0f, 0.0f)};
    if (gradient.any) {
        gradient.dy = gradients_at(problem.dy, out, piece.plane + mine.plane * channels, row, column);
    }
    fill(problem.x, image, piece, tile);
    return gradient;
}

// The weight gradient of one channel over some of its tiles.
template <int KERNEL_SIZE> __device__ void sum_weights(const DepthwiseBackwardWeight &problem, int block, float4 *tile, float *scratch) {
    constexpr int TAPS = KERNEL_SIZE * KERNEL_SIZE;
    int channels = (int)problem.sizes.channels, channel = block % channels;
    int item = block / channels * (int)problem.items, end = item + (int)problem.items;
    int planes = (int)problem.tiling.planes, groups = ((int)problem.sizes.batch + planes - 1) / planes;
    int all = groups * (int)(problem.tiling.down * problem.tiling.across);
    float sums[TAPS] = {};
    for (end = end < all ? end : all; item < end; item++) {
        Gradient gradient = bring_item(problem, channel, item, tile);
        int dilation = (int)problem.sizes.dilation, stride = (int)problem.sizes.stride;
        if (gradient.any) {
            const float *windows = windows_of(problem.tiling, stride, tile);
            with_taps<KERNEL_SIZE>(dilation, stride,
                                   Contribute<KERNEL_SIZE>{windows, (int)problem.tiling.pitch, dilation, stride, gradient.dy, sums});
        }
        __syncthreads();
    }
    int warp = threadIdx.x / WARP;
#pragma unroll
    for (int tap = 0; tap < TAPS; tap++) {
        for (int offset = WARP / 2; offset > 0; offset /= 2) {
            sums[tap] += __shfl_xor_sync(ALL_LANES, sums[tap], offset);
        }
        if (threadIdx.x % WARP == 0) {
            scratch[warp * TAPS + tap] = sums[tap];
        }
    }
    __syncthreads();
    if (threadIdx.x < TAPS) {
        float sum = 0.0f;
        for (int i = 0; i < THREADS / WARP; i++) {
            sum += scratch[i * TAPS + threadIdx.x];
        }
        problem.partial[(Size)block * TAPS + threadIdx.x] = sum;
    }
}

} // namespace

MEMORY_KERNEL depthwise_forward(const DepthwiseForward *problems, const unsigned *first, unsigned count) {
    __shared__ float4 tile[TILE_FLOATS / 4], kernels[MOST_PLANES * MOST_KERNEL * KERNEL_PITCH / 4];
    auto work = find_work(problems, first, count);
    const DepthwiseForward &problem = work.problem;
    const ConvSizes &sizes = problem.sizes;
    int channels = (int)sizes.channels;
    Convolution convolution = {{channels, (int)sizes.height, (int)sizes.width},
                               (int)sizes.batch,
                               (int)sizes.kernel,
                               (int)sizes.stride,
                               (int)sizes.padding,
                               (int)sizes.dilation,
                               1,
                               problem.weight,
                               false};
    Result result = {{problem.y, problem.bias, nullptr}, {channels, (int)sizes.out_height, (int)sizes.out_width}};
    convolve(convolution, problem.x, result, problem.tiling, work.block, tile, (float *)kernels);
}

MEMORY_KERNEL depthwise_backward_input(const DepthwiseBackwardInput *problems, const unsigned *first, unsigned count) {
    __shared__ float4 tile[TILE_FLOATS / 4], kernels[MOST_PLANES * MOST_KERNEL * KERNEL_PITCH / 4];
    auto work = find_work(problems, first, count);
    const DepthwiseBackwardInput &problem = work.problem;
    const ConvSizes &sizes = problem.sizes;
    int channels = (int)sizes.channels, kernel = (int)sizes.kernel, dilation = (int)sizes.dilation;
    Convolution convolution = {{channels, (int)sizes.out_height, (int)sizes.out_width},
                               (int)sizes.batch,
                               kernel,
                               1,
                               (kernel - 1) * dilation - (int)sizes.padding,
                               dilation,
                               (int)sizes.stride,
                               problem.weight,
                               true};
    const Values *gate = problem.gate.x.data ? &problem.gate : nullptr;
    Result result = {{problem.dx, nullptr, gate}, {channels, (int)sizes.height, (int)sizes.width}};
    convolve(convolution, problem.dy, result, problem.tiling, work.block, tile, (float *)kernels);
}

SUM_KERNEL depthwise_backward_weight(const DepthwiseBackwardWeight *problems, const unsigned *first, unsigned count) {
    __shared__ float4 tile[TILE_FLOATS / 4];
    __shared__ float scratch[THREADS / WARP * MOST_KERNEL * MOST_KERNEL];
    auto work = find_work(problems, first, count);
    switch (work.problem.sizes.kernel) {
    case 3:
        sum_weights<3>(work.problem, work.block, tile, scratch);
        break;
    case 5:
        sum_weights<5>(work.problem, work.block, tile, scratch);
        break;
    default:
        sum_weights<7>(work.problem, work.block, tile, scratch);
        break;
    }
}
