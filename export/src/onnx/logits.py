import json, numpy, onnxruntime, sys, PIL.Image, PIL.ImageOps
network = onnxruntime.InferenceSession(sys.argv[1])
how = json.loads(network.get_modelmeta().custom_metadata_map["adwp.preprocessing"])
H, W, h, w = (how[step][side] for step in ("resize", "crop") for side in ("height", "width"))
for image in (PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB").convert(how["color"]) for path in sys.argv[2:]):
    x, y = max(W, H * image.width // image.height), max(H, W * image.height // image.width)
    for size in [(x, image.height), (x, y)]: image = image.resize(size, PIL.Image.Resampling[how["resize"]["interpolation"].upper()])
    image = numpy.array(image, "f4").reshape(y, x, -1)[None, round((y - h) / 2):, round((x - w) / 2):][:, :h, :w] / how["divide_by"]
    image = numpy.einsum("NHWC->" + how["layout"], (image - numpy.float32(how["mean"])) / numpy.float32(how["std"])).astype(how["dtype"])
    print(*network.run(None, {network.get_inputs()[0].name: image})[0][0])
