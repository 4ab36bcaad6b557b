// The Go client library in protobuf against a cluster: `clients-go KUBECONFIG` runs every case and prints one line of JSON
// for each, `{"name": …, "error": …}`. The cases are those that controllers and kubectl live by.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/retry"
)

const ns = "go"

type world struct {
	config *rest.Config
	kube   *kubernetes.Clientset
	ctx    context.Context
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Data: data}
}

func crud(w *world) error {
	maps := w.kube.CoreV1().ConfigMaps(ns)
	made, err := maps.Create(w.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "crud-", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"k": "v"}, BinaryData: map[string][]byte{"bytes": {0, 255, 10}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if made.UID == "" || !strings.HasPrefix(made.Name, "crud-") || !bytes.Equal(made.BinaryData["bytes"], []byte{0, 255, 10}) {
		return fmt.Errorf("created as %v", made)
	}
	if _, err = maps.Create(w.ctx, configMap(made.Name, nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a second create: %v", err)
	}
	stale := made.DeepCopy()
	made.Data["k"] = "w"
	if made, err = maps.Update(w.ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	stale.Data["k"] = "x"
	if _, err = maps.Update(w.ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("a stale update: %v", err)
	}
	if err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fresh, err := maps.Get(w.ctx, made.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		fresh.Data["k"] = "y"
		_, err = maps.Update(w.ctx, fresh, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"add","path":"/data/j","value":"1"}]`,
		types.MergePatchType:          `{"data":{"m":"1"}}`,
		types.StrategicMergePatchType: `{"data":{"s":"1"}}`,
	} {
		if _, err = maps.Patch(w.ctx, made.Name, kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	got, err := maps.Get(w.ctx, made.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if fmt.Sprint(got.Data) != "map[j:1 k:y m:1 s:1]" {
		return fmt.Errorf("patched to %v", got.Data)
	}
	wrong := types.UID("wrong")
	err = maps.Delete(w.ctx, got.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}})
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("a delete of another object: %v", err)
	}
	if err = maps.Delete(w.ctx, got.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err = maps.Get(w.ctx, got.Name, metav1.GetOptions{})
	return check(apierrors.IsNotFound(err), "after the delete: %v", err)
}

func invalid(w *world) error {
	_, err := w.kube.CoreV1().Pods(ns).Create(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "No"}}, metav1.CreateOptions{})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return fmt.Errorf("an invalid pod: %v", err)
	}
	if d := status.ErrStatus.Details; d == nil || len(d.Causes) < 2 || d.Kind != "Pod" {
		return fmt.Errorf("details %v", d)
	}
	return nil
}

func paging(w *world) error {
	maps := w.kube.CoreV1().ConfigMaps(ns)
	for i := range 25 {
		m := configMap(fmt.Sprintf("page-%02d", i), nil)
		m.Labels = map[string]string{"of": "paging"}
		if _, err := maps.Create(w.ctx, m, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	options := metav1.ListOptions{LabelSelector: "of=paging", Limit: 10}
	var names []string
	for {
		list, err := maps.List(w.ctx, options)
		if err != nil {
			return err
		}
		for _, m := range list.Items {
			names = append(names, m.Name)
		}
		if list.Continue == "" {
			break
		}
		options.Continue = list.Continue
	}
	if len(names) != 25 || names[0] != "page-00" || names[24] != "page-24" {
		return fmt.Errorf("pages gave %v", names)
	}
	if err := maps.DeleteCollection(w.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=paging"}); err != nil {
		return err
	}
	list, err := maps.List(w.ctx, metav1.ListOptions{LabelSelector: "of=paging"})
	if err != nil {
		return err
	}
	return check(len(list.Items) == 0, "%d are left", len(list.Items))
}

func watches(w *world) error {
	maps := w.kube.CoreV1().ConfigMaps(ns)
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	stream, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, FieldSelector: "metadata.name=watched"})
	if err != nil {
		return err
	}
	defer stream.Stop()
	if _, err = maps.Create(ctx, configMap("watched", map[string]string{"a": "1"}), metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err = maps.Patch(ctx, "watched", types.MergePatchType, []byte(`{"data":{"a":"2"}}`), metav1.PatchOptions{}); err != nil {
		return err
	}
	if err = maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return err
	}
	var seen []string
	for event := range stream.ResultChan() {
		seen = append(seen, fmt.Sprintf("%s %s", event.Type, event.Object.(*corev1.ConfigMap).Data["a"]))
		if event.Type == watch.Deleted {
			break
		}
	}
	return check(fmt.Sprint(seen) == "[ADDED 1 MODIFIED 2 DELETED 2]", "saw %v", seen)
}

func informer(w *world) error {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(w.kube, 0, informers.WithNamespace(ns))
	maps := factory.Core().V1().ConfigMaps()
	var adds, updates, deletes atomic.Int32
	_, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { adds.Add(1) },
		UpdateFunc: func(any, any) { updates.Add(1) },
		DeleteFunc: func(any) { deletes.Add(1) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), maps.Informer().HasSynced) {
		return errors.New("it never synchronised")
	}
	before := adds.Load()
	client := w.kube.CoreV1().ConfigMaps(ns)
	for i := range 20 {
		name := fmt.Sprintf("informed-%d", i)
		if _, err := client.Create(ctx, configMap(name, nil), metav1.CreateOptions{}); err != nil {
			return err
		}
		if _, err := client.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
		if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) {
		return adds.Load()-before == 20 && deletes.Load() == 20 && updates.Load() == 20, nil
	})
}

func apply(w *world) error {
	deployments := w.kube.AppsV1().Deployments(ns)
	labels := map[string]string{"app": "applied"}
	want := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		return appsapply.Deployment("applied", ns).WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().
				WithContainers(coreapply.Container().WithName("c").WithImage("nginx")))))
	}
	if _, err := deployments.Apply(w.ctx, want(1), metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	_, err := deployments.Apply(w.ctx, want(2), metav1.ApplyOptions{FieldManager: "two"})
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("a conflicting apply: %v", err)
	}
	forced, err := deployments.Apply(w.ctx, want(2), metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return err
	}
	extracted, err := appsapply.ExtractDeployment(forced, "two")
	if err != nil {
		return err
	}
	if *extracted.Spec.Replicas != 2 {
		return fmt.Errorf("extracted %v", *extracted.Spec.Replicas)
	}
	return deployments.Delete(w.ctx, "applied", metav1.DeleteOptions{})
}

func discover(w *world) error {
	groups, err := restmapper.GetAPIGroupResources(w.kube.Discovery())
	if err != nil {
		return err
	}
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil {
		return err
	}
	if mapping.Resource.Resource != "deployments" {
		return fmt.Errorf("mapped to %v", mapping.Resource)
	}
	preferred, err := discovery.ServerPreferredResources(w.kube.Discovery())
	if err != nil {
		return err
	}
	paths, err := w.kube.Discovery().OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	document, err := w.kube.Discovery().OpenAPISchema()
	if err != nil {
		return err
	}
	return check(len(preferred) > 15 && len(paths) > 20 && len(document.Definitions.AdditionalProperties) > 400,
		"%d lists, %d paths, %d definitions", len(preferred), len(paths), len(document.Definitions.AdditionalProperties))
}

func metadataOnly(w *world) error {
	client, err := metadata.NewForConfig(w.config)
	if err != nil {
		return err
	}
	nodes := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	list, err := nodes.List(w.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return check(len(list.Items) == 1 && list.Items[0].Labels["kubernetes.io/os"] == "linux", "got %v", list)
}

func custom(w *world) error {
	client, err := dynamic.NewForConfig(w.config)
	if err != nil {
		return err
	}
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "gophers.go.example.com"},
		"spec": map[string]any{"group": "go.example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "gophers", "singular": "gopher", "kind": "Gopher", "listKind": "GopherList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec":   map[string]any{"type": "object", "properties": map[string]any{"size": map[string]any{"type": "integer", "maximum": int64(10)}}},
					"status": map[string]any{"type": "object", "properties": map[string]any{"seen": map[string]any{"type": "integer"}}}}}}}}}}}
	crds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if _, err = crds.Create(w.ctx, crd, metav1.CreateOptions{}); err != nil {
		return err
	}
	resource := schema.GroupVersionResource{Group: "go.example.com", Version: "v1", Resource: "gophers"}
	gophers := client.Resource(resource).Namespace(ns)
	gopher := func(size int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "go.example.com/v1", "kind": "Gopher",
			"metadata": map[string]any{"name": "g"}, "spec": map[string]any{"size": size}}}
	}
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	if err = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		_, err := gophers.Create(ctx, gopher(3), metav1.CreateOptions{})
		return err == nil, nil
	}); err != nil {
		return err
	}
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, ns, nil)
	inf := factory.ForResource(resource).Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) || len(inf.GetStore().List()) != 1 {
		return fmt.Errorf("the informer holds %v", inf.GetStore().List())
	}
	if _, err = gophers.Update(ctx, gopher(11), metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		return fmt.Errorf("too large a gopher: %v", err)
	}
	if _, err = gophers.Patch(ctx, "g", types.MergePatchType, []byte(`{"status":{"seen":1},"spec":{"size":9}}`), metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	got, err := gophers.Get(ctx, "g", metav1.GetOptions{})
	if err != nil {
		return err
	}
	size, _, _ := unstructured.NestedInt64(got.Object, "spec", "size")
	seen, _, _ := unstructured.NestedInt64(got.Object, "status", "seen")
	return check(size == 3 && seen == 1, "size %d, seen %d", size, seen)
}

func election(w *world) error {
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "leader", Namespace: ns}, Client: w.kube.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"}}
	led := false
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { led = true; cancel() }, OnStoppedLeading: func() {}}})
	if err != nil {
		return err
	}
	elector.Run(ctx)
	return check(led, "never led")
}

func runPod(w *world, name string) error {
	pods := w.kube.CoreV1().Pods(ns)
	_, err := pods.Create(w.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"run": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox", Command: []string{"sh", "-c", "sleep 1000"}}}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		p, err := pods.Get(ctx, name, metav1.GetOptions{})
		return err == nil && p.Status.Phase == corev1.PodRunning, err
	})
}

func exec(w *world) error {
	if err := runPod(w, "exec"); err != nil {
		return err
	}
	request := w.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name("exec").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	spdy, err := remotecommand.NewSPDYExecutor(w.config, "POST", request.URL())
	if err != nil {
		return err
	}
	socket, err := remotecommand.NewWebSocketExecutor(w.config, "GET", request.URL().String())
	if err != nil {
		return err
	}
	for name, executor := range map[string]remotecommand.Executor{"spdy": spdy, "websocket": socket} {
		var out, bad bytes.Buffer
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
		err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("through " + name), Stdout: &out, Stderr: &bad})
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if out.String() != "through "+name {
			return fmt.Errorf("%s gave %q and %q", name, out.String(), bad.String())
		}
	}
	_, err = w.kube.CoreV1().Pods(ns).GetLogs("exec", &corev1.PodLogOptions{}).DoRaw(w.ctx)
	return err
}

func evict(w *world) error {
	if err := runPod(w, "evict"); err != nil {
		return err
	}
	zero := int64(0)
	err := w.kube.CoreV1().Pods(ns).EvictV1(w.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evict", Namespace: ns},
		DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: &zero}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		_, err := w.kube.CoreV1().Pods(ns).Get(ctx, "evict", metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func scale(w *world) error {
	one := int32(1)
	labels := map[string]string{"app": "scaled"}
	deployments := w.kube.AppsV1().Deployments(ns)
	if _, err := deployments.Create(w.ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "scaled"},
		Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}}}}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	// The controller writes the object's status at the same time.
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		s, err := deployments.GetScale(w.ctx, "scaled", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Spec.Replicas = 3
		_, err = deployments.UpdateScale(w.ctx, "scaled", s, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	return wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		d, err := deployments.Get(ctx, "scaled", metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 3, err
	})
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		panic(err)
	}
	config.QPS = -1
	proto := rest.CopyConfig(config)
	proto.ContentType = "application/vnd.kubernetes.protobuf"
	proto.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	w := &world{config: config, kube: kubernetes.NewForConfigOrDie(proto), ctx: context.Background()}
	if _, err = w.kube.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		panic(err)
	}
	for range 500 {
		if _, err = w.kube.CoreV1().ServiceAccounts(ns).Get(w.ctx, "default", metav1.GetOptions{}); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	out := json.NewEncoder(os.Stdout)
	for _, c := range []struct {
		name string
		run  func(*world) error
	}{
		{"create, read, update, patch, delete", crud}, {"an invalid object has its causes", invalid}, {"paging and deletion of a collection", paging},
		{"watch", watches}, {"shared informer", informer}, {"apply with conflicts", apply}, {"discovery, mapping and OpenAPI", discover},
		{"metadata only", metadataOnly}, {"custom resources by the dynamic client", custom}, {"leader election", election},
		{"exec over SPDY and WebSocket, logs", exec}, {"eviction", evict}, {"scale", scale},
	} {
		text := ""
		if err := c.run(w); err != nil {
			text = err.Error()
		}
		_ = out.Encode(map[string]string{"name": c.name, "error": text})
	}
}
