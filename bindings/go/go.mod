module fqgan

go 1.19
