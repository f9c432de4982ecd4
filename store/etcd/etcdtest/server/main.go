// Command server is etcd's own, for tests: built from its module, which the program itself does not need.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
