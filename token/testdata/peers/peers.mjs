// What three programs that are not ours make of texts: see README.md.
//
//	node peers.mjs > golden.json   of the texts below
//	node peers.mjs live            of a JSON array of texts on standard input
//
// tiktoken is OpenAI's own code, compiled to WebAssembly, and counts; js-tiktoken and gpt-tokenizer must agree with it but
// for the texts that differs() knows. For every text there is a line: its JSON, then for each encoding the number of tokens
// and the first 16 digits of the SHA-256 of the tokens joined by spaces.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { getEncoding } from "js-tiktoken";
import { get_encoding } from "tiktoken";

const names = ["cl100k_base", "o200k_base", "p50k_base", "r50k_base"];

const texts = [
  "", "a", " ", "\n", "a\n \n y", "a\n\t\n\tb", " no-op\n    \n    _, x", "hello world", "don't DON'T don'T 'tis 'LL'll",
  "I'll we've you're he'd she's I'm 's's'S'sx 'rex 'vE'Re'LLa", "it’s ‘quoted’", "x'ſ 'ſa", "'K 'k", "a'", "'", "''s", " 's", "\n's",
  "\u0085a\u0085 b", "\u0085's", "\ufeff's", "a\ufeffb \ufeff", "\ufeffhello", "a  b   c    d", "  a\t\tb\t c", "a \n", "a\n  ", "a \r\n \r\n b", "\r\r\n\n\r",
  "1234567890 12 345 6,789.01", "٣٤٥٦٧ ½⅓ Ⅷ ²³", "a1b22c333d4444", "foo_bar-baz/qux//\n/\r/", "...\n\n...", "?!\r\n/\n x", " !\n", "!!!!\n\n\n\nx",
  "<|endoftext|> <|fim_prefix|><|endofprompt|>", "HELLOworld helloWORLD HelloWorld XMLHttpRequest aB Ab AB ab",
  "ǅ ǅa Aǅ aǅ ʰa aʰ Aʰ ʰA ªº ªA", "e\u0301te\u0301 E\u0301TE\u0301 \u0301 \u0301a \u0301A A\u0301B", "a\u0301'll A\u0301'S", "\u0301\u0301A", " \u0301A", "-\u0301A",
  "한국어 텍스트ABC한글abc", "你好世界，这是一个测试。你好ABC", "これはテストです。カタカナＡＢＣ１２３", "नमस्ते दुनिया", "สวัสดีชาวโลก", "مرحبا بالعالم", "Привет МИР мИр", "Ἀθῆναι ΑΒΓ",
  "👩‍👩‍👧‍👦👍🏽❤️1️⃣🇩🇪", "𝐀𝐁𝐂 𝟏𝟐𝟑𝟒 𐐀𐐨 𝒜b", "\u00a0a\u00a0\u00a0b", "\u3000a\u3000\u3000", "\u2028a\u2029\u2028b", "\u200b\u200ba", "\u0000\u0001\u0000", "\u00ada",
  " ".repeat(200), "\n".repeat(200), "\t".repeat(99) + "x", "a".repeat(300), "ab".repeat(150), "=".repeat(150) + "\n", "漢".repeat(99), "0".repeat(100),
  "é".repeat(99), "the".repeat(80), " \n".repeat(50), "\r\n".repeat(60) + " ", "👍".repeat(40), "A".repeat(120) + "b", "aA".repeat(60), "-".repeat(64) + "a",
  "func main() {\n\tfmt.Println(\"hello, world\")\n\n\tif err != nil {\n\t\treturn err\n\t}\n}\n", "SELECT * FROM `t` WHERE a='it''s' -- ok\n;",
  "https://example.org/a/b?c=d&e=%20f#g user@example.com", "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
];

// A small generator, so that the texts are the same every time.
let state = 1;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const alphabets = [
  ["a", "B", "c", " ", "\n", "'", "s", "1"],
  [" ", "  ", "\n", "\r\n", "\t", "x", ".", "\u00a0", "\u3000", "\u2028"],
  ["'s", "'LL", "'d", "'Re", "'t", "'", "a", "A", " ", "\u0301", "é"],
  ["a", "A", "ǅ", "ʰ", "한", "\u0301", "'", "s", " ", "-", "\n", "1", "É", "\u0903"],
  ["/", "\n", "\r", ".", "-", " ", "a", "\u0301", "1", "٣"],
  ["的", "是", "。", "，", "日", "本", "か", "ー", "A", " ", "1", "\n", "龘", "鬱"],
  ["the", " of", " and", "ing", "tion", " str", "un", "able", "X", "Y", "_", "(", ")", "0"],
  ["😀", "👍", "🏽", "\u200d", "\ufe0f", "é", "ß", "Ж", "ж", "א", " "],
];
for (let i = 0; i < 1600; i++) {
  const letters = alphabets[i % alphabets.length];
  let text = "";
  for (let n = 1 + below(i % 3 ? 12 : 50); n > 0; n--) text += letters[below(letters.length)];
  texts.push(text);
}


// Above are short texts around the rules; below are documents.
const many = (n, make) => Array.from({ length: n }, make).join("");
const pick = (list) => list[below(list.length)];

// Letters, marks and numbers that Unicode has since 15.1. Which of them a JavaScript engine knows depends on its age.
const young = new RegExp("[" +
  "\\u{295}\\u{88f}\\u{897}\\u{c5c}\\u{cdc}\\u{1acf}-\\u{1add}\\u{1ae0}-\\u{1aeb}\\u{1c89}\\u{1c8a}\\u{a7cb}-\\u{a7cf}\\u{a7d2}\\u{a7d4}" +
  "\\u{a7da}-\\u{a7dc}\\u{a7f1}\\u{105c0}-\\u{105f3}\\u{10940}-\\u{10959}\\u{10d40}-\\u{10d85}\\u{10ec2}-\\u{10ec7}\\u{10efa}-\\u{10efc}" +
  "\\u{11380}-\\u{113e2}\\u{116d0}-\\u{116e3}\\u{11b60}-\\u{11b67}\\u{11bc0}-\\u{11be0}\\u{11bf0}-\\u{11bf9}\\u{11db0}-\\u{11de9}\\u{11f5a}" +
  "\\u{13460}-\\u{143fa}\\u{16100}-\\u{16139}\\u{16d40}-\\u{16d79}\\u{16ea0}-\\u{16ed3}\\u{16ff2}-\\u{16ff6}\\u{187f8}-\\u{187ff}" +
  "\\u{18cff}-\\u{18d1e}\\u{18d80}-\\u{18df2}\\u{1ccf0}-\\u{1ccf9}\\u{1e5d0}-\\u{1e5fa}\\u{1e6c0}-\\u{1e6ff}\\u{2b73a}-\\u{2b73f}" +
  "\\u{2cea2}-\\u{2cead}\\u{2ebf0}-\\u{2ee5d}\\u{323b0}-\\u{33479}]", "u");
// The oldest and the newest of Unicode 16, where tiktoken and package token know them and an older engine does not.
for (const c of ["\u{897}", "\u{1c89}", "\u{1c8a}", "\u{a7cb}", "\u{a7cd}", "\u{a7dc}", "\u{105c0}", "\u{10d40}", "\u{10d50}", "\u{10d6f}", "\u{10d85}",
  "\u{113b8}", "\u{113d1}", "\u{116e3}", "\u{11bc0}", "\u{143fa}", "\u{1611e}", "\u{16d6b}", "\u{18cff}", "\u{1ccf0}", "\u{1e5ee}", "\u{2ebf0}", "\u{2ee5d}"])
  for (const context of ["#'s #", "a#'ll", "##'RE A", "1#2#'d", "A#a'S", " #'t\n#"]) texts.push(context.replaceAll("#", c));

const code = () => {
  for (;;) {
    const c = below(pick([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]));
    const text = c >= 0xd800 && c < 0xe000 ? "" : String.fromCodePoint(c);
    if (text && c !== 0x85 && c !== 0xfeff && !young.test(text)) return text;
  }
};
for (let i = 0; i < 400; i++) texts.push(many(5 + below(40), () => (below(3) ? code() : pick([" ", "\n", "a", "A", "'s", "1", "。", "  "]))));
for (let i = 0; i < 150; i++) {
  const bytes = Uint8Array.from({ length: 8 + below(60) }, () => (below(2) ? below(256) : 0xc0 + below(0x38)));
  texts.push(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes).replace(young, "")); // U+FFFD for what is no UTF-8
}
const emoji = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "❤️", "1️⃣", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🧑🏿‍🚀", "☕", "✅", "🫶", "👁️‍🗨️", " ", "ok", "\n", "!", "‍"];
for (let i = 0; i < 100; i++) texts.push(many(1 + below(40), () => pick(emoji)));
const special = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|endofprompt|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>",
  "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|startoftext|>", "<|reserved_200000|>"];
for (const s of special) texts.push(s, "a" + s + "b", ` ${s} ${s}\n`, s.slice(0, -1), s.slice(1));
for (const unit of ["a", "A", "z", "ab", "é", "漢", "あ", "한", "0", "12", " ", "\n", "\t", " \n", "\r\n", ".", "-", "_", "=", "#", "👍", "👩‍👧", "\u0301", "a\u0301",
  "\u00a0", "\u3000", "\u2028", "\u200d", "\ufffd", "\0", "'s", "<|endoftext|>", "ACGT", "/", "\\", "the ", "xX"])
  texts.push(unit.repeat(Math.ceil((500 + below(700)) / unit.length)), "b" + unit.repeat(120) + "b");
const id = () => pick(["x", "i", "err", "userName", "MAX_SIZE", "parse_json", "HTTPServer", "_tmp2", "数", "naïve"]);
const lines = [
  () => `func (s *${id()}) ${id()}(${id()} int) error {\n\tif ${id()} != nil {\n\t\treturn fmt.Errorf("${id()}: %w", err)\n\t}\n\treturn nil\n}\n`,
  () => `def ${id()}(self, ${id()}=None):\n    """${id()}'s."""\n    for ${id()} in range(${below(9999)}):\n        yield ${id()}[${id()}:-1]\n`,
  () => `const ${id()} = async ({ ${id()}, ...rest }) => \`\${${id()}}-${below(99)}\`; // ${id()}\n`,
  () => `    #include <${id()}.h>\r\n    template<typename T> ${id()}::~${id()}() { delete[] ${id()}->p; }\r\n`,
  () => `SELECT "${id()}", COUNT(*) FROM ${id()} WHERE ${id()} LIKE '%''s%' AND n >= ${below(1e9)};\n`,
  () => `<div class="${id()} ${id()}">\n  <a href="https://example.org/${id()}?q=%C3%A9&amp;n=${below(99)}">${id()}</a>\n</div>\n`,
  () => `{"${id()}": [${below(1000)}.${below(1000)}, -1e${below(30)}, null, "\\u00e9\\n"],\t"${id()}":{}}\n`,
  () => `| ${id()} | ${below(1e6)} |\n|---|---:|\n\n\`\`\`sh\n$ ${id()} --${id()}=${id()} | sort -u > /dev/null\n\`\`\`\n`,
];
for (let i = 0; i < 120; i++) texts.push(many(1 + below(8), () => pick(lines)()));
const sentences = readFileSync(new URL("../../../extract/testdata/sentences.txt", import.meta.url), "utf8").split("\n").filter((l) => l.length > 80);
texts.push(...sentences.slice(1));
for (let i = 0; i < 150; i++) {
  const parts = Array.from({ length: 2 + below(4) }, () => { const t = pick(texts), at = below(t.length); return t.slice(at, at + below(120)).replace(/\p{Surrogate}/gu, ""); });
  texts.push(parts.join(pick(["", " ", "\n", "\n\n"])));
}

const digest = (tokens) =>
  [tokens.length, createHash("sha256").update([...tokens].join(" ")).digest("hex").slice(0, 16)];

// differs says whether a peer may differ from tiktoken on a text. Both mean by \s what JavaScript does, which has U+FEFF and
// lacks U+0085, know other letters than Unicode 16 has, and do not fold ſ to s. gpt-tokenizer also loses the tokens that
// start with U+FEFF, because it reads its vocabulary with a decoder that takes it for a byte order mark.
const differs = (text) => /[\ufeff\u0085]|'ſ/.test(text) || young.test(text);

const given = process.argv[2] === "live" ? JSON.parse(readFileSync(0, "utf8")) : texts;
const rows = given.map((text) => ({ text, tokens: [] }));
const counts = {};
for (const name of names) {
  const openai = get_encoding(name);
  const js = getEncoding(name);
  const gpt = await import(`gpt-tokenizer/encoding/${name}`);
  const peers = {
    "js-tiktoken": (text) => js.encode(text, [], []),
    "gpt-tokenizer": (text) => gpt.encode(text, { disallowedSpecial: new Set() }),
  };
  for (const row of rows) {
    const want = digest(openai.encode(row.text, [], []));
    row.tokens.push(...want);
    for (const [peer, encode] of Object.entries(peers)) {
      if (String(digest(encode(row.text))) === String(want)) continue;
      if (!differs(row.text)) throw new Error(`${name}: ${peer} differs from tiktoken on ${JSON.stringify(row.text)}`);
      counts[`${name} ${peer}`] = (counts[`${name} ${peer}`] ?? 0) + 1;
    }
  }
  openai.free();
}
console.error(`${rows.length} texts; differences, all of the known kinds:`, counts);
console.log("[\n" + rows.map((r) => JSON.stringify([r.text, ...r.tokens])).join(",\n") + "\n]");
