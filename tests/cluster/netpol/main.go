// Command netpol enforces NetworkPolicies on one node: netpol KUBECONFIG NODE QUEUE.  It judges the
// packets that a firewall rule sends to the NFQUEUE of that number.
package main

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	kubeconfig, node := os.Args[1], os.Args[2]
	queue, err := strconv.Atoi(os.Args[3])
	if err != nil {
		klog.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		// Not NRIdisabled, which reads a nil pointer at the first address that is no pod's.
		networkpolicy.Config{QueueID: queue, NodeName: node},
	)
	if err != nil {
		klog.Fatal(err)
	}
	factory.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		klog.Fatal(err)
	}
}
