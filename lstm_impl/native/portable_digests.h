// The functions of TensorFlow's ops that the fused op may replace: what a layer of this library is
// traced into, for float32 and bfloat16, with and without a mask. python -m tools.portable writes
// this file, and adds what another version of TensorFlow or of this library traces.
#ifndef LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_
#define LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_

namespace lstm_impl {

struct PortableBody {
  bool reverse, batch_major;
  const char* digests[3];  // of y, h_last and c_last, by result_digests()
};

inline constexpr PortableBody kPortableBodies[] = {
    {false, false,
     {"c4689f9a67f510902f4c27fcb08b1a55e770558324c3561b9979946e7e65fe80",
      "b148bc565ae524f37ef67e48e3c4300ed3413c3c88fe0a5652cca1803cb6402d",
      "a2e7a0161dfca61df1d3bc82b05448d91e34a9ef6558bf9c8c81d73454caeede"}},
    {false, false,
     {"6e228f3010ee328e850ee583be0b37b1f550c442f31069d704d502fa75af6f2f",
      "49f06732960553695914f98bb9a3ee9b5073036d691360bac87c9db884b45e61",
      "c7232bcca22f67e88cdc12c4113665dd58ab409669c3550333055421f8673134"}},
    {false, true,
     {"80bb2892e900befa0e0c3b613dd9a8afa04edbefdcf55561d90b85e867787cc9",
      "87b571ebe2dbcb0880248e21a891a50e0143f24fb1e2745b5ae4433d3ede13cb",
      "ea775b66c69d4f684ef8b39b288ff01ec97ed443ced8d8c4ff9ed3784973e207"}},
    {false, true,
     {"8a9c0600171f9d96e1aeb4d064e049247117e09361ca07c6d8e295ad7e047d0a",
      "8d92cec5e7d11f18b30b79a3c350d367d9ebb4b6c5521f308b92462858858a7b",
      "ad717df17e01b2ff2e599114920cc441a92c4754d93909d4fbcc48953cdc3b87"}},
    {true, false,
     {"966707c22706ed8b8afae93e2297bc2fc45e04e10f6a15e4bf3d21be22a92887",
      "88166375d604a87d6c726dd88837d4a3770d6684e8a08c6f4481a90489e387ee",
      "11b800ed360b7db5e3985904e24d4c26d989c0f9f4e3daa1f454ff73e475a609"}},
    {true, false,
     {"4e5ecbe805626452f21674bd93f0eda9a3a74d096f0e59b4ecddbd97cb5b648f",
      "52065acc118fe36a47c5b337b47286e9a5f78554f8ac2eed3a9f9fb344b6b9f5",
      "72a76790d6326f3aa79c53d4214d4feb5ea4a68917487bbe8f6aca4784d1533a"}},
    {true, true,
     {"c0b572de2824b92f1c87ec81316adb9190d458d17d8ac654f23da69a01b1d7f6",
      "a6c9a5d575e90fe185a53867d3e2c7cd523f0c277f81a4b17fb2d31fd8ffdaf7",
      "cfbf7eb29ffc56a6bc8f519240e6e4aec5f3cf823bcf89752ff8b7e38caa7488"}},
    {true, true,
     {"188c6d48a1466cec19db44e0d0ed9ea37b7afba0ee5a2fa1b666d4e79f0420cc",
      "8f85cc9e2e2872813ffa199cef7f4d3388d78c514453a938e5dbb83988e15129",
      "cbf0afac02bace20dc22e90427d75f58a6f04b0b33556a4fbe43c23346c612ae"}},
    {false, false,
     {"e8be0b68550eedc94d5989c6c47a07919ca7f3475d11ee22280b8e5fecf0ceb7",
      "50f313efa4dab347aa171388cf215fc035699d19896f60274cbfdb8c72725ba0",
      "51ce285570eb5daede8bee2da1fcad257846240d73b91a59c622aab4c02fed71"}},
    {false, false,
     {"53afb21e1bdb0c5aec71d2e746b5172edd37241d065cc87b169a6138ecd7b45a",
      "9ddc545e65a3e198d06bcdbb77cb1e9b2f5ee438535328fd2ed23ee35717cf76",
      "f47332e0982c8268dd509e08f10f86550926d5a6d0428c55e08295a18cebb2e3"}},
    {false, true,
     {"3ae0e6037d561428098e164883fc88f4d965912a9d9fe5db0eed1ab85b1b180a",
      "d365111c3b6af950711644a7e2943ea8c395446326bd334c995d3304588cc677",
      "298c794f1ea9c175a7434dbb3ad1be5beb1c271ae00b7df8a99eaa53bb205569"}},
    {false, true,
     {"c41ac4ce4e4936d1b4bfe449d0fa4e3e8c9774abded78b150ea09fd9a0beb8c1",
      "b01664417a94c14df28a4ba408c7aaa7035a5e99cd617a638d278fc51e78f6d3",
      "a3bdd82de36574a0087c8b8ae6023c954759e4629791cd3273b998af152b0493"}},
    {true, false,
     {"8f156e2598efb1e53a73fa90ad245dc15149bdf135460241edb68f14fa9c51fd",
      "7904b1440e93821ed20c69b0e19215c864d8129a780f5845fe80d54dad5c4e45",
      "d57d690d6fb99cfc9c0298a3d3e614518b7486a10dd083883a580a5775a1323e"}},
    {true, false,
     {"a5b57bc9bceea329d6498bb20e94ebe32d3bdea81216f6117af434a3b9f6fc99",
      "2a8295f6869621e7611be9d97ec369ca92aae5d2aac2b036f9469c50cb6f2329",
      "98151ec1a50d59b8f4d9e489b746440708b42bf1d711950e3fe8b77d88e24bf3"}},
    {true, true,
     {"e837da9bc2bb0e0298abc0e6995df013e892e7e9e82e47d0f357f3171190d086",
      "823dfe692a493130f60393ca83b163a52826c304091cb093818c8e001a11ed98",
      "0997acd005921015f07c4cb6602a2eb51206e872414d95bde3bcd35907da0ec5"}},
    {true, true,
     {"997b81bf5c113534fda10c5fa5e8745f49f2d2d305c082e59b664f3702aabe1c",
      "b5f47bdd86d783e4a77c46b3c2926c6b06412bbf6c9a7cff9e8f90e4f45f6f25",
      "c4322eb21015a4324c6b01411ac264d16df296972a3bec7c539a4cbf7d0ee5f0"}},
};

}  // namespace lstm_impl

#endif  // LSTM_IMPL_NATIVE_PORTABLE_DIGESTS_H_
