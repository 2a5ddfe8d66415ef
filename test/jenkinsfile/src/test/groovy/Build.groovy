import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration

/**
 * One build of the Jenkinsfile, as Jenkins would do it, in an empty workspace. A `sh` step runs its script for real, by `sh -xe`, with
 * the directory `bin` first on the PATH; steps that need a Jenkins (input, junit, archiveArtifacts) are noted. No library that plays
 * declarative pipelines is published where a build machine can get it, so Declaration below does, as far as this Jenkinsfile goes.
 */
class Build {
    static final File ROOT = new File(System.getProperty('basedir') ?: System.getProperty('user.dir'), '../..').canonicalFile
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'ABORTED'] // only ever worse, as in Jenkins

    final File workspace, bin
    String from                                                // the stage to restart from: what came before is left out
    boolean declines                                           // whoever is asked says no
    boolean atOnce                                             // parallel stages run in parallel, not one after the other
    Map<String, String> params = [:]                           // of the build; those not named have their defaults
    Map<String, String> credentials = ['jenkins-token': 'secret-token']
    List<String> setup = []                                    // files that a shell sources before its script

    final Map env = [:]
    final Map currentBuild = [result: 'SUCCESS']
    final Map agent = [:]                                      // of the kubernetes agent: defaultContainer, yaml
    final List<String> asked = [].asSynchronized(), said = [].asSynchronized(), reported = [].asSynchronized(), archived = []

    Build(File dir) {
        workspace = new File(dir, 'workspace')
        bin = new File(dir, 'bin')
        [workspace, bin].each { it.mkdirs() }
    }

    /** What ends a build early. */
    static class Ends extends RuntimeException {
        Ends(String message) { super(message) }
    }

    String result() { currentBuild.result }

    void worse(String result) {
        if (RESULTS.indexOf(result) > RESULTS.indexOf(currentBuild.result)) { currentBuild.result = result }
    }

    Build run() {
        def config = new CompilerConfiguration(scriptBaseClass: Steps.name)
        def script = new GroovyShell(Build.classLoader, new Binding(build: this), config).parse(new File(ROOT, 'Jenkinsfile')) as Steps
        script.run()
        return this
    }

    int shell(String script, boolean keep, StringBuilder output) {
        def file = File.createTempFile('step', '.sh', workspace.parentFile)
        file.text = script
        def sources = setup.collect { ". '${it}'; " }.join('')
        def command = new ProcessBuilder('sh', '-c', "${sources}PATH='${bin}':\$PATH; exec sh -xe '${file}'".toString()).directory(workspace)
        command.environment().clear()
        command.environment().PATH = System.getenv('PATH')
        env.each { k, v -> command.environment()[k as String] = v as String }
        command.redirectError(ProcessBuilder.Redirect.INHERIT)
        def process = command.start()
        process.outputStream.close()
        String text = process.inputStream.text
        keep ? output << text : print(text)
        return process.waitFor()
    }
}

/** The steps that the Jenkinsfile calls. One that is not here fails the test as an unknown step would fail the build. */
abstract class Steps extends Script {
    // A script keeps what it is given in its binding.
    Map getEnv() { build.env }
    Map getParams() { build.params }
    Map getCurrentBuild() { build.currentBuild }

    void pipeline(Closure body) { new Declaration(this).pipeline(body) }

    def sh(Map args) {
        def output = new StringBuilder()
        int code = build.shell(args.script as String, args.returnStdout as boolean, output)
        if (args.returnStatus) { return code }
        if (code != 0) { error "script returned exit code ${code}" }
        return args.returnStdout ? output.toString() : null
    }
    def sh(String script) { sh(script: script) }
    void echo(String text) { println text }
    boolean fileExists(String name) { new File(build.workspace, name).exists() }
    String readFile(String name) { new File(build.workspace, name).text }
    def readJSON(Map args) {
        assert args.returnPojo: 'without it readJSON returns what a pipeline that is resumed cannot keep'
        new JsonSlurper().parseText((args.text ?: readFile(args.file as String)) as String)
    }
    void junit(Map args) { build.reported << (args.testResults as String) }
    void archiveArtifacts(Map args) { build.archived << (args.artifacts as String) }
    void unstable(String text) { build.said << text; build.worse('UNSTABLE') }
    void error(String text) {
        build.said << text
        build.worse('FAILURE')
        throw new Build.Ends(text)
    }
    void input(Map args) {
        build.asked << (args.message as String)
        if (build.declines) {
            build.worse('ABORTED')
            throw new Build.Ends('declined')
        }
    }
    void timeout(Map args, Closure body) {
        assert args.time > 0 && args.unit in ['SECONDS', 'MINUTES', 'HOURS', 'DAYS']
        body()
    }
    void script(Closure body) { body() }
    String credential(String id) { build.credentials[id] ?: error("no credential ${id}") }
}

/** The declarative syntax. A directive that is not here is refused. */
class Declaration {
    final Steps script
    final Build build

    Declaration(Steps script) {
        this.script = script
        build = script.build
    }

    void pipeline(Closure body) {
        def sections = collect(body, ['agent', 'options', 'parameters', 'environment', 'stages', 'post'])
        within(sections.agent, [kubernetes: { Closure k -> within(k, [defaultContainer: { build.agent.container = it }, yaml: { build.agent.yaml = it }]) }])
        within(sections.options, [disableConcurrentBuilds: {}, timeout: { Map args -> assert args.time > 0 }])
        def given = build.params.keySet() as Set
        within(sections.parameters, [
            string: { Map p -> build.params.putIfAbsent(p.name, p.defaultValue) },
            choice: { Map p ->
                build.params.putIfAbsent(p.name, p.choices[0])
                assert build.params[p.name] in p.choices
            },
        ])
        assert build.params.keySet().containsAll(given)
        within(sections.environment, [credentials: { String id -> script.credential(id) }], build.env)
        try {
            stages(sections.stages)
        } catch (Build.Ends ignored) {
            // the result says what it was
        } finally {
            within(sections.post, [always: { Closure c -> steps(c) }])
        }
    }

    private void stages(Closure body) {
        def found = [:]
        within(body, [stage: { String name, Closure c -> found[name] = c }])
        assert build.from == null || found.containsKey(build.from): "no stage ${build.from}"
        def before = build.from != null
        found.each { String name, Closure c ->
            before = before && name != build.from
            if (!before) { stage(name, c) }
        }
    }

    private void stage(String name, Closure body) {
        def sections = collect(body, ['when', 'failFast', 'parallel', 'steps'])
        assert (sections.steps != null) != (sections.parallel != null): "stage ${name}: steps or parallel"
        def wanted = true
        if (sections.when) { within(sections.when, [expression: { Closure c -> wanted = steps(c) }]) }
        if (!wanted) { return }
        println "stage ${name}"
        if (sections.steps) {
            steps(sections.steps)
            return
        }
        def branches = [:]
        within(sections.parallel, [stage: { String n, Closure c -> branches[n] = c }])
        if (!build.atOnce) {
            branches.each { n, c -> stage(n as String, c as Closure) }
            return
        }
        def failed = [].asSynchronized()
        branches.collect { n, c ->
            Thread.start {
                try {
                    stage(n as String, c as Closure)
                } catch (Throwable t) {
                    failed << t
                }
            }
        }*.join()
        if (failed) { throw failed[0] }
    }

    /** The directives of a block by name; each may stand there once. */
    private Map collect(Closure body, List<String> known) {
        def found = [:]
        within(body, known.collectEntries { name -> [name, { arg ->
            assert !found.containsKey(name): "${name} twice"
            found[name] = arg
        }] })
        return found
    }

    /** Runs a block in which only the given words mean something; names that it sets go into a map. */
    private void within(Closure body, Map<String, Closure> words, Map sets = null) {
        if (body == null) { return }
        def c = body.clone() as Closure
        c.delegate = new Words(words: words, sets: sets, script: script)
        c.resolveStrategy = Closure.DELEGATE_ONLY
        c()
    }

    /** Runs a block of steps. */
    private def steps(Closure body) {
        def c = body.clone() as Closure
        c.delegate = script
        c.resolveStrategy = Closure.DELEGATE_FIRST
        c()
    }
}

/** The words of one block. */
class Words {
    Map<String, Closure> words
    Map sets
    Steps script

    def invokeMethod(String name, Object args) {
        if (!words.containsKey(name)) { throw new MissingMethodException(name, Words, args as Object[]) }
        words[name].call(*(args as Object[]))
    }
    def propertyMissing(String name) { script."$name" }
    void propertyMissing(String name, Object value) {
        if (sets == null) { throw new MissingPropertyException(name, Words) }
        sets[name] = value as String
    }
}
