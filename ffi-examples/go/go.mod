module fqgan-service

go 1.19

require fqgan v0.0.0

replace fqgan => ../../bindings/go
