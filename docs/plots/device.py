import crossjax as cx

axes = cx.plot.device(cx.devices.pcm())
