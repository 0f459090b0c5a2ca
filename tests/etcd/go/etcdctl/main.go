// Command etcdctl is the client of the newest etcd, for the tests: the released module's own entry point and nothing else.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
