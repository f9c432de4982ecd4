module github.com/openimds/openimds/bench

go 1.26.0

replace github.com/openimds/openimds => ../

require (
	github.com/aws/aws-sdk-go-v2 v1.47.7
	github.com/openimds/openimds v0.0.0
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
)

require (
	github.com/aws/smithy-go v1.28.8 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
