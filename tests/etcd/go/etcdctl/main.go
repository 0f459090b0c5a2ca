// Command etcdctl is a released etcd's client, for the tests: the module's own entry point and nothing else.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
