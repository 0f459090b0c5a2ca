// Command etcd is a released etcd, for the tests: the module's own entry point and nothing else. The mod file decides
// which: go.mod the newest, 3.6.mod the one before.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
