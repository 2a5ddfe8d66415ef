package jenkinshome

import (
	"time"

	emu "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

var source = From{Cluster: steps.ClusterRef{Context: "old"}, Namespace: "jenkins", Workload: "deployment/jenkins"}

func (s *stage) precopySpec() PrecopySpec {
	return PrecopySpec{From: source, Volume: s.volume, Route: "auto", Passes: 3, Small: 10}
}

func (s *stage) migrateSpec(m Move) MigrateSpec {
	return MigrateSpec{Move: m, Jenkins: OldJenkins{JenkinsAccess: JenkinsAccess{User: "admin", Token: steps.NewSecret("11aa")}, Builds: Builds{Wait: minutes(15), Then: "fail"}},
		StopWithin: minutes(5), AckWithin: minutes(10), ArgoCD: "argocd"}
}

func (s *stage) verifySpec(m Move) VerifySpec {
	return VerifySpec{Move: m, Cluster: steps.ClusterRef{EKS: &steps.EKSCluster{Name: "new", Region: emu.FixtureRegion}}, Namespace: "jenkins", Workload: "statefulset/jenkins",
		Jenkins: JenkinsAccess{User: "admin", Token: steps.NewSecret("11aa")}, OnFailure: "rollback", Within: minutes(5), ArgoCD: "argocd"}
}

func minutes(n int) spec.Duration { return spec.Duration{Duration: time.Duration(n) * time.Minute} }
