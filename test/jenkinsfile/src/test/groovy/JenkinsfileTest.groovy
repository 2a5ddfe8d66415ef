import static org.junit.jupiter.api.Assertions.*

import com.cloudbees.groovy.cps.CpsTransformer
import java.nio.file.Path
import org.codehaus.groovy.control.CompilerConfiguration
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.CsvSource
import org.junit.jupiter.params.provider.ValueSource
import org.yaml.snakeyaml.Yaml

/** What the Jenkinsfile does with what pipectl answers. Its shell lines run for real; only the pipectl that they call is a stand-in. */
class JenkinsfileTest {

    static final List<String> ALL = ['validate', 'plan', 'home', 'cluster', 'precopy', 'ebsCsiRole ebsCsi argocd', 'cutover', 'claim apps', 'result', 'check']

    Build build
    File dir
    Map<String, Integer> answers = [:] // pattern of the shell -> exit code of the stand-in; the first that matches counts
    boolean silent                     // the stand-in leaves no result

    @BeforeEach
    void begin(@TempDir Path temp) {
        dir = temp.toFile()
        build = new Build(dir)
    }

    /** A pipectl that notes how it was called and answers as the test says. */
    private void run() {
        def cases = answers.collect { pattern, code -> "${pattern.replace(' ', '\\ ')}) code=${code} ;;" }.join('\n')
        def json = silent ? '' : '{"errors":[{"message":"because"}]}'
        def file = new File(build.bin, 'pipectl')
        file.text = """#!/bin/sh
echo "\$*" >>'${dir}/calls'
echo "\$JENKINS_TOKEN" >'${dir}/token'
code=0
case "\$*" in
${cases}
esac
case "\$*" in
result*) echo '{"jenkins":"http://jenkins.example"}' ;;
run*|down*) [ \$code = 0 ] || printf '%s' '${json}' ;;
esac
exit \$code
"""
        file.executable = true
        build.run()
    }

    /** The arguments of each call of the stand-in. */
    private List<String> log() {
        def file = new File(dir, 'calls')
        file.exists() ? file.readLines() : []
    }

    /** The calls as the stages they name, or as the verb where they run none. */
    private List<String> verbs() {
        log().collect { call -> call.startsWith('run') ? (call =~ /--stage (\S+)/).collect { it[1] }.join(' ') : call.split(' ')[0] }
    }

    private void ends(String result) { assertEquals(result, build.result(), "${build.said}") }

    @Test
    void 'a run that finds nothing to ask goes through all stages'() {
        run()
        ends('SUCCESS')
        assertEquals(ALL, verbs())
        assertEquals([], build.asked)
        assertEquals('Jenkins: http://jenkins.example', build.currentBuild.description.toString())
        assertEquals(['out/**,results/**'], build.archived)
        for (name in ['home', 'cluster', 'precopy', 'platform', 'cutover', 'apps', 'check']) {
            assertTrue(build.reported.contains("out/${name}.xml".toString()), "no test report of ${name}: ${build.reported}")
        }
    }

    @ParameterizedTest(name = 'exit code {0} of a stage makes the build {1}')
    @CsvSource([
        '1,   FAILURE,  exit code 1',
        '2,   FAILURE,  is wrong',
        '10,  FAILURE,  precondition or quota',
        '11,  FAILURE,  credentials or permissions',
        '12,  FAILURE,  another run',
        '13,  FAILURE,  waits for an approval',
        '14,  FAILURE,  restart from this stage',
        '15,  FAILURE,  timed out',
        '16,  UNSTABLE, left over',
        '17,  FAILURE,  unhealthy',
        '18,  FAILURE,  verification failed',
        '127, FAILURE,  exit code 127',
        '130, ABORTED,  cancelled',
        '143, ABORTED,  cancelled',
    ])
    void 'exit codes'(int code, String wanted, String says) {
        answers['run*--stage cluster*'] = code
        run()
        ends(wanted)
        assertTrue(build.said.any { it.contains('cluster: ') && it.contains(says) && it.endsWith('because') }, build.said.toString())
        if (code == 16) {
            assertEquals(ALL, verbs(), 'what is left over keeps no later stage back')
        } else {
            assertEquals('cluster', verbs().last(), 'nothing runs after a stage that did not succeed')
        }
    }

    @ParameterizedTest(name = 'a refusal of {0} without a result says to look at the log')
    @ValueSource(strings = ['validate', 'plan', 'run*--stage home'])
    void 'refused before it began'(String call) {
        answers[call + '*'] = 2
        silent = true
        run()
        ends('FAILURE')
        assertTrue(build.said.any { it.contains('is wrong') && it.endsWith('see the log') }, build.said.toString())
    }

    @Test
    void 'what a failed build left is archived too'() {
        answers['run*--stage home*'] = 10
        run()
        assertEquals(1, build.archived.size())
    }

    @Test
    void 'a plan with changes is no failure'() {
        answers['plan*--detailed-exitcode*'] = 3
        run()
        ends('SUCCESS')
    }

    @Test
    void 'a cut-over that nobody approved yet is asked about and then approved by name'() {
        answers['run*--stage cutover --approve cutover*'] = 0
        answers['run*--stage cutover*'] = 13
        run()
        ends('SUCCESS')
        assertEquals(1, build.asked.size())
        def calls = log().findAll { it.contains('--stage cutover') }
        assertEquals(['run', 'plan', 'run'], calls.collect { it.split(' ')[0] })
        assertFalse(calls[0].contains('--approve'))
        assertTrue(calls[2].contains('--approve cutover'))
        assertTrue(verbs().contains('check'))
    }

    @Test
    void 'a cut-over that somebody declines is not made'() {
        answers['run*--stage cutover*'] = 13
        build.declines = true
        run()
        ends('ABORTED')
        assertFalse(log().any { it.contains('--approve') })
        assertEquals('plan', verbs().last())
    }

    @Test
    void 'a cut-over that fails after its approval is told by its own words'() {
        answers['run*--approve cutover*'] = 18
        answers['run*--stage cutover*'] = 13
        run()
        ends('FAILURE')
        assertTrue(build.said.any { it == 'cutover: verification failed: because' }, build.said.toString())
    }

    @Test
    void 'down asks, and does nothing else'() {
        build.params['ACTION'] = 'down'
        run()
        ends('SUCCESS')
        assertEquals(1, build.asked.size())
        assertEquals(['validate', 'down'], verbs())
    }

    @Test
    void 'down that is declined removes nothing'() {
        build.params['ACTION'] = 'down'
        build.declines = true
        run()
        ends('ABORTED')
        assertEquals(['validate'], verbs())
    }

    @Test
    void 'leftovers of down make the build unstable'() {
        build.params['ACTION'] = 'down'
        answers['down*'] = 16
        run()
        ends('UNSTABLE')
    }

    @ParameterizedTest(name = 'restart from "{0}" in a new pod')
    @CsvSource([
        'Disk,                 home',
        'Cluster and copy,     cluster',
        'Storage and Argo CD,  ebsCsiRole ebsCsi argocd',
        'Cut-over,             cutover',
        'Applications,         claim apps',
        'Verify,               check',
    ])
    void 'restarts'(String from, String first) {
        answers['run*--approve cutover*'] = 0
        answers['run*--stage cutover*'] = 13 // a restart from it has to ask again
        build.from = from
        run()
        ends('SUCCESS')
        assertEquals(first, verbs().first())
        assertEquals('check', verbs().last())
        assertEquals(ALL.indexOf(first) <= ALL.indexOf('cutover') ? 1 : 0, build.asked.size())
    }

    @Test
    void 'the first build of a job has no params in the environment'() {
        run()
        assertTrue(log().findAll { !it.startsWith('result') }.every { it.contains(' pipelines/blog.yaml') }, log().toString())
    }

    @Test
    void 'the pod of the agent has the container that the steps run in'() {
        run()
        def pod = new Yaml().load(build.agent.yaml as String)
        assertEquals([build.agent.container], pod.spec.containers*.name)
        assertEquals(1000, pod.spec.securityContext.runAsUser, "the user of the agent's own container")
    }

    /** Jenkins transforms a pipeline so that it can be suspended; not all of Groovy can be. */
    @Test
    void 'it can be suspended'() {
        def config = new CompilerConfiguration(scriptBaseClass: Steps.name)
        config.addCompilationCustomizers(new CpsTransformer())
        new GroovyShell(JenkinsfileTest.classLoader, new Binding(), config).parse(new File(Build.ROOT, 'Jenkinsfile'))
    }

    @Test
    void 'the token reaches pipectl by the environment alone'() {
        run()
        assertEquals('secret-token', new File(dir, 'token').text.trim())
        assertFalse(log().any { it.contains('secret-token') })
    }
}
