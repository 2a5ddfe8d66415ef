package jenkinshome

import "pipectl.dev/steps"

var aboutPrecopy = steps.About{
	Name: "precopy-jenkins-home", AWS: true,
	Summary: "Copy a running Jenkins' home onto a data volume, once, so that the cut-over is short",
	Example: `from: {cluster: {context: kubernetes-admin@kubernetes}, namespace: jenkins, workload: deployment/jenkins}
volume: vol-0123456789abcdef0
route: auto
`,
	Doc: `Finds the Jenkins workload, the volume that has its home, and its node. The volume is attached to that node (an EC2 instance), a mover there
formats it when it is blank, copies in passes while Jenkins runs, and reads everything back. What Jenkins makes again is left out.

How far a move is, is written on the volume. A finished move is never looked at again: later runs do not ask the source cluster.`,
}

var aboutMigrate = steps.About{
	Name: "migrate-jenkins-home", AWS: true,
	Summary: "Move Jenkins: quiet it down, stop it, copy what is left, and let the volume go",
	Example: `move:
  volumeId: vol-0123456789abcdef0
  route: attach
  source: {cluster: {context: kubernetes-admin@kubernetes}, namespace: jenkins, workload: deployment/jenkins}
jenkins: {user: admin, token: "11aa22bb", builds: {wait: 15m, then: fail}}
`,
	Doc: `The critical section runs as a Job in the source cluster: quiet down, wait for builds, pause the owning Application, scale to 0, last pass, verify,
unmount. Then the volume is detached. When anything fails, or nobody takes the volume in time, the old Jenkins is started again. Its home is only read.

Each phase is recorded in the ConfigMap pipectl-move-NAME next to Jenkins; a run that was interrupted carries on from there.`,
}

var aboutVerify = steps.About{
	Name: "verify-jenkins-home", AWS: true,
	Summary: "Compare the new Jenkins with the old one: same jobs, build numbers, plugins; else turn the move back",
	Example: `move:
  volumeId: vol-0123456789abcdef0
  source: {cluster: {context: kubernetes-admin@kubernetes}, namespace: jenkins, workload: deployment/jenkins}
cluster: {eks: {name: blog, region: ap-northeast-2}}
namespace: jenkins
workload: statefulset/jenkins
jenkins: {user: admin, token: "secret"}
onFailure: rollback
`,
	Doc: `Compares by what was recorded before the old Jenkins stopped. When the new one does not answer in time, or lacks anything, the new one is stopped,
its Application paused, and the old one started again; builds that the new one made meanwhile are lost, and the next run copies the home anew.`,
}
