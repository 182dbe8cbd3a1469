import crossjax as cx

axes = cx.plot.strategy(cx.Pairs((2.0, 1.0), "lsp_first"))
