// An operator's test suite in small, as controller-runtime's envtest runs them: `clients-envtest` starts the control plane that
// KUBEBUILDER_ASSETS names and prints one line of JSON for each case, `{"name": …, "error": …}`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var gvk = schema.GroupVersionKind{Group: "shop.example.com", Version: "v1", Kind: "Order"}

const finalizer = "shop.example.com/keep"

type world struct {
	ctx    context.Context
	env    *envtest.Environment
	config *rest.Config
	client client.Client
}

func order(name string, size int64) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": size}}}
	o.SetGroupVersionKind(gvk)
	o.SetNamespace("default")
	o.SetName(name)
	return o
}

func definition() *apiextensionsv1.CustomResourceDefinition {
	one := 1.0
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "orders." + gvk.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: gvk.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "orders", Singular: "order", Kind: gvk.Kind, ListKind: "OrderList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: gvk.Version, Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec":   {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"size": {Type: "integer", Minimum: &one}}},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"seen": {Type: "integer"}}},
					},
				}},
			}},
		},
	}
}

// The webhook that the environment installs: no order of thirteen.
func refuseThirteen(_ context.Context, request admission.Request) admission.Response {
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(request.Object.Raw, o); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if size, _, _ := unstructured.NestedInt64(o.Object, "spec", "size"); size == 13 {
		return admission.Denied("thirteen is bad luck")
	}
	return admission.Allowed("")
}

func webhooks() envtest.WebhookInstallOptions {
	path, none, fail := "/refuse", admissionv1.SideEffectClassNone, admissionv1.Fail
	return envtest.WebhookInstallOptions{ValidatingWebhooks: []*admissionv1.ValidatingWebhookConfiguration{{
		ObjectMeta: metav1.ObjectMeta{Name: "orders"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "orders.shop.example.com", SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "webhook", Path: &path}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{gvk.Group}, APIVersions: []string{"v1"}, Resources: []string{"orders"}},
			}},
		}},
	}}}
}

// The operator: a ConfigMap for each order, the size in its status, a finalizer that leaves a note.
type reconciler struct{ client client.Client }

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	o := order("", 0)
	if err := r.client.Get(ctx, request.NamespacedName, o); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !o.GetDeletionTimestamp().IsZero() {
		note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName() + "-gone"}}
		if err := r.client.Create(ctx, note); client.IgnoreAlreadyExists(err) != nil {
			return ctrl.Result{}, err
		}
		controllerutil.RemoveFinalizer(o, finalizer)
		return ctrl.Result{}, r.client.Update(ctx, o)
	}
	if controllerutil.AddFinalizer(o, finalizer) {
		return ctrl.Result{}, r.client.Update(ctx, o)
	}
	size, _, _ := unstructured.NestedInt64(o.Object, "spec", "size")
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName()}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.client, m, func() error {
		m.Data = map[string]string{"size": fmt.Sprint(size)}
		return controllerutil.SetControllerReference(o, m, r.client.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	before := o.DeepCopy()
	if err := unstructured.SetNestedField(o.Object, size, "status", "seen"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.client.Status().Patch(ctx, o, client.MergeFrom(before))
}

func (w *world) eventually(done func() (bool, error)) error {
	return wait.PollUntilContextTimeout(w.ctx, 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) { return done() })
}

func manage(w *world) error {
	options := w.env.WebhookInstallOptions
	manager, err := ctrl.NewManager(w.config, ctrl.Options{
		Metrics: server.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: options.LocalServingHost, Port: options.LocalServingPort, CertDir: options.LocalServingCertDir,
		}),
	})
	if err != nil {
		return err
	}
	manager.GetWebhookServer().Register("/refuse", &webhook.Admission{Handler: admission.HandlerFunc(refuseThirteen)})
	if err = ctrl.NewControllerManagedBy(manager).For(order("", 0)).Owns(&corev1.ConfigMap{}).Complete(&reconciler{manager.GetClient()}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(w.ctx) }()
	return w.eventually(func() (bool, error) {
		select {
		case err := <-ended:
			return false, errors.Join(errors.New("the manager ended"), err)
		default:
			return manager.GetWebhookServer().StartedChecker()(nil) == nil, nil
		}
	})
}

func reconciled(w *world) error {
	o := order("a", 3)
	if err := w.client.Create(w.ctx, o); err != nil {
		return err
	}
	return w.eventually(func() (bool, error) {
		m := &corev1.ConfigMap{}
		if err := w.client.Get(w.ctx, client.ObjectKeyFromObject(o), m); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		if err := w.client.Get(w.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return false, err
		}
		seen, _, _ := unstructured.NestedInt64(o.Object, "status", "seen")
		return seen == 3 && m.Data["size"] == "3" && metav1.IsControlledBy(m, o), nil
	})
}

func owned(w *world) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	if err := w.client.Delete(w.ctx, m); err != nil {
		return err
	}
	return w.eventually(func() (bool, error) {
		err := w.client.Get(w.ctx, client.ObjectKeyFromObject(m), m)
		return err == nil && m.DeletionTimestamp.IsZero(), client.IgnoreNotFound(err)
	})
}

func refused(w *world) error {
	if err := w.client.Create(w.ctx, order("b", 13)); !apierrors.IsForbidden(err) || err.Error() !=
		`admission webhook "orders.shop.example.com" denied the request: thirteen is bad luck` {
		return fmt.Errorf("the webhook: %v", err)
	}
	if err := w.client.Create(w.ctx, order("b", 0)); !apierrors.IsInvalid(err) {
		return fmt.Errorf("the schema: %v", err)
	}
	return nil
}

func finalized(w *world) error {
	o := order("a", 3)
	if err := w.client.Delete(w.ctx, o); err != nil {
		return err
	}
	return w.eventually(func() (bool, error) {
		if err := w.client.Get(w.ctx, client.ObjectKeyFromObject(o), o); err == nil || !apierrors.IsNotFound(err) {
			return false, client.IgnoreNotFound(err)
		}
		err := w.client.Get(w.ctx, types.NamespacedName{Namespace: "default", Name: "a-gone"}, &corev1.ConfigMap{})
		return err == nil, client.IgnoreNotFound(err)
	})
}

func limitedUser(w *world) error {
	user, err := w.env.AddUser(envtest.User{Name: "reader"}, nil)
	if err != nil {
		return err
	}
	reader, err := client.New(user.Config(), client.Options{})
	if err != nil {
		return err
	}
	if err = reader.List(w.ctx, &corev1.ConfigMapList{}); !apierrors.IsForbidden(err) {
		return fmt.Errorf("without rights: %v", err)
	}
	if err = w.client.Create(w.ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}}},
	}); err != nil {
		return err
	}
	if err = w.client.Create(w.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "reader"}},
	}); err != nil {
		return err
	}
	return w.eventually(func() (bool, error) {
		err := reader.List(w.ctx, &corev1.ConfigMapList{})
		return err == nil, client.IgnoreNotFound(ignoreForbidden(err))
	})
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}

func privileged(w *world) error {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}},
	}
	if err := w.client.Create(w.ctx, pod); err != nil {
		return err
	}
	// Nobody admits service accounts, and nothing runs.
	if pod.Spec.ServiceAccountName != "" || pod.Status.Phase != corev1.PodPending {
		return fmt.Errorf("the pod is %v", pod)
	}
	return nil
}

func uninstalled(w *world) error {
	if err := envtest.UninstallCRDs(w.config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{definition()}}); err != nil {
		return err
	}
	return w.eventually(func() (bool, error) {
		err := w.client.List(w.ctx, func() *unstructured.UnstructuredList {
			l := &unstructured.UnstructuredList{}
			l.SetGroupVersionKind(gvk)
			return l
		}())
		return apierrors.IsNotFound(err), nil
	})
}

func main() {
	log.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w := &world{ctx: ctx, env: &envtest.Environment{
		CRDInstallOptions:     envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{definition()}},
		WebhookInstallOptions: webhooks(),
	}}
	started := false
	cases := []struct {
		name string
		run  func(*world) error
	}{
		{"the environment starts, with its definitions and webhooks", func(w *world) (err error) {
			if w.config, err = w.env.Start(); err != nil {
				return err
			}
			started = true
			w.client, err = client.New(w.config, client.Options{Scheme: scheme.Scheme})
			return err
		}},
		{"a manager with a controller and a webhook runs", manage},
		{"a custom resource is reconciled, its status written", reconciled},
		{"what it owns is made again", owned},
		{"webhook and schema refuse", refused},
		{"a finalizer does its work before the end", finalized},
		{"a user of the environment has the rights that RBAC gives", limitedUser},
		{"privileged pods may be, and stay pending", privileged},
		{"definitions are uninstalled", uninstalled},
		{"the environment stops", func(w *world) error {
			cancel()
			dir := w.env.ControlPlane.Etcd.DataDir
			if err := w.env.Stop(); err != nil {
				return err
			}
			started = false
			if _, err := os.Stat(filepath.Clean(dir)); !os.IsNotExist(err) {
				return fmt.Errorf("the store's folder is still there: %v", err)
			}
			return nil
		}},
	}
	for _, c := range cases {
		text := ""
		if err := c.run(w); err != nil {
			text = err.Error()
		}
		line, _ := json.Marshal(map[string]string{"name": c.name, "error": text})
		fmt.Println(string(line))
	}
	if started {
		_ = w.env.Stop()
	}
}
